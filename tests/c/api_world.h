// What tests of moonfleet.h share.
#ifndef MFI_TESTS_API_WORLD_H
#define MFI_TESTS_API_WORLD_H

#include "check.h"

#include <moonfleet.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG 20.0 // seconds; nothing takes that long

#define FOR_EVER "while true do end"
#define FOR_EVER_CAUGHT "while true do pcall(select, '#') end"

static inline mf_runtime *open_runtime(mf_backend backend) {
  mf_config c = {.size = sizeof c, .backend = backend, .shared_limit = (size_t)256 << 20};
  char err[200] = "";
  mf_runtime *rt = mf_open(&c, err, sizeof err);
  if (rt == NULL)
    printf("mf_open: %s\n", err);
  return rt;
}

static inline mf_future *submit(mf_pool *pool, const char *chunk, const mf_value *args, int n) {
  return mf_submit_source(pool, chunk, strlen(chunk), "=chunk", args, n);
}

static inline long long integer_of(const mf_value *v) {
  return v != NULL && v->kind == MF_INTEGER ? (long long)v->as.integer : -1;
}

static inline int is_text(const mf_value *v, const char *text) {
  return v != NULL && v->kind == MF_STRING && v->as.string.size == strlen(text) &&
         memcmp(v->as.string.data, text, v->as.string.size) == 0;
}

#endif
