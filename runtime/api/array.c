// Arrays, for C. Floor 6. Locks: the runtime's mutex, the array's. Sleeps nowhere.
#include "flow/array.h"

#include "api/caller.h"
#include "api/value.h"

// A handle without its reference; NULL: no memory, or the runtime is closed.
static mf_array *make(mf_runtime *rt) {
  mf_array *a = mfi_new(rt, sizeof *a);
  if (a != NULL && mfi_runtime_enter(rt)) {
    a->rt = rt;
    return a;
  }
  mfi_delete(rt, a, sizeof *a);
  return NULL;
}

static void end(mf_array *a) {
  mf_runtime *rt = a->rt;
  mfi_delete(rt, a, sizeof *a);
  mfi_runtime_leave(rt);
}

static mfi_status refer(mf_array *a, mfi_handle h) {
  mf_runtime *rt = a->rt;
  mfi_lock_home(rt);
  mfi_status st = mfi_handle_add(&rt->home, h, &a->place);
  mfi_unlock_home(rt);
  if (st != MFI_OK)
    return st;
  mfi_array *array = mfi_array_of(mfi_object_of(&rt->home, h));
  a->handle = h;
  a->type = array->shape.type;
  a->count = array->shape.count;
  a->data = mfi_at(&rt->home, array->first);
  return MFI_OK;
}

mf_array *mfi_array_handle(mf_runtime *rt, mfi_handle h) {
  mf_array *a = make(rt);
  if (a == NULL || refer(a, h) == MFI_OK)
    return a;
  end(a);
  return NULL;
}

// Memory is made in the caller's own slot: large arrays take a while, and the mutex is for moments.
mf_array *mf_array_open(mf_runtime *rt, char type, size_t count) {
  char name[2] = {type, '\0'};
  mfi_shape s = {.type = mfi_type_of(name), .dims = 1, .count = count, .size = {count}};
  mfi_caller *c = rt == NULL || rt->in_child ? NULL : mfi_caller_of(rt);
  if (rt == NULL || rt->in_child)
    return NULL;
  if (s.type == MFI_TYPES) {
    mfi_fail(rt, MF_INVALID, "mf_array_open: there is no type '%s'", name);
    return NULL;
  }
  uint32_t place;
  mfi_self *self = c == NULL ? NULL : mfi_caller_self(c);
  mfi_handle h = self == NULL ? 0 : mfi_array_make(self, &s, true, &place);
  mf_array *a = h == 0 ? NULL : mfi_array_handle(rt, h);
  if (h != 0)
    mfi_handle_drop(self, place);
  if (a == NULL)
    mfi_fail(rt, MF_NOMEM, "mf_array_open: no memory, or the runtime is closed");
  return a;
}

void *mf_array_data(mf_array *a, size_t *count, char *type) {
  if (a == NULL)
    return NULL;
  if (count != NULL)
    *count = a->count;
  if (type != NULL)
    *type = mfi_type_letter(a->type);
  return a->data;
}

void mf_array_release(mf_array *a) {
  if (a == NULL || a->rt->in_child)
    return;
  mfi_lock_home(a->rt);
  mfi_handle_drop(&a->rt->home, a->place);
  mfi_unlock_home(a->rt);
  end(a);
}
