// What C tests share. A test is a function; RUN calls it and prints `ok NAME` or `not ok NAME`,
// which scripts/test.sh counts (a program that prints neither counts as one test, by its exit
// status).
//
//   static void pops_in_order(void) { CHECK(pop(q) == 1); CHECK_EQ(count(q), 0); }
//   int main(void) { RUN(pops_in_order); return check_done(); }
#ifndef MFI_TESTS_CHECK_H
#define MFI_TESTS_CHECK_H

#include <stdio.h>

static int check_failed_here; // failed checks of the test that runs
static int check_failed_tests;

// Goes on after a failure, so that one run shows all.
#define CHECK(cond)                                                                                \
  ((cond) ? (void)0 : (void)(check_failed_here++, printf("%s:%d: %s\n", __FILE__, __LINE__, #cond)))

// For a place that must not be reached.
#define FAIL(why) (check_failed_here++, (void)printf("%s:%d: %s\n", __FILE__, __LINE__, why))

#define CHECK_EQ(got, expected) check_eq((long long)(got), (long long)(expected), #got, __LINE__)

static inline void check_eq(long long got, long long expected, const char *what, int line) {
  if (got == expected)
    return;
  check_failed_here++;
  printf("line %d: %s is %lld, expected %lld\n", line, what, got, expected);
}

#define RUN(test) check_run(test, #test)

static inline void check_run(void (*test)(void), const char *name) {
  check_failed_here = 0;
  test();
  printf("%s %s\n", check_failed_here ? "not ok" : "ok", name);
  fflush(stdout);
  check_failed_tests += check_failed_here != 0;
}

static inline int check_done(void) { return check_failed_tests != 0; }

#endif
