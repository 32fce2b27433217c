// Shapes and views of Arrays in Lua. Floor 7. Locks nothing of its own, sleeps nowhere.
#include "bind/array.h"

static mfi_box *self_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_ARRAY, method);
}

static const mfi_shape *shape_of(const mfi_box *b) { return &mfi_array_of(b->o)->shape; }

// Pushes "20x30".
static const char *push_sizes(lua_State *L, const mfi_shape *s) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (uint32_t i = 0; i < s->dims; i++) {
    lua_pushfstring(L, i == 0 ? "%I" : "x%I", (LUAI_UACINT)s->size[i]);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  return lua_tostring(L, -1);
}

int mfi_bind_array_text(lua_State *L) {
  mfi_box *b = mfi_bind_any(L, 1);
  if (b == NULL || b->handle == 0)
    lua_pushliteral(L, "Array(closed)");
  else
    lua_pushfstring(L, "Array(#%I, %s, %s)", (LUAI_UACINT)b->o->number, mfi_type_name(b->type),
                    push_sizes(L, shape_of(b)));
  return 1;
}

int mfi_bind_array_shape(lua_State *L) {
  const mfi_shape *s = shape_of(self_of(L, "shape"));
  luaL_checkstack(L, MFI_ARRAY_DIMS, NULL);
  for (uint32_t i = 0; i < s->dims; i++)
    lua_pushinteger(L, (lua_Integer)s->size[i]);
  return (int)s->dims;
}

// ---- By row and column

// The element that the indices from `first` on name; n is the number of the first argument.
static char *find(lua_State *L, const mfi_box *b, int first, int n, const char *method) {
  const mfi_shape *s = shape_of(b);
  uint64_t i = 0;
  int given = lua_gettop(L) - first + 1;
  if (given != (int)s->dims)
    luaL_error(L, "bad argument #%d to '%s' (%d %s expected for an Array of %s, got %d)", n, method,
               (int)s->dims, s->dims == 1 ? "index" : "indices", push_sizes(L, s), given);
  for (uint32_t d = 0; d < s->dims; d++)
    i = i * s->size[d] + mfi_bind_integer(L, first + (int)d, n + (int)d, method, 1, s->size[d]) - 1;
  return b->elements + i * mfi_type_size(s->type);
}

int mfi_bind_array_at(lua_State *L) {
  mfi_box *b = self_of(L, "at");
  mfi_bind_push_element(L, b->type, find(L, b, 2, 1, "at"));
  return 1;
}

int mfi_bind_array_put(lua_State *L) {
  mfi_box *b = self_of(L, "put");
  char *p = find(L, b, 3, 2, "put");
  if (!mfi_bind_store(L, 2, b->type, p))
    mfi_bind_misfit(L, 2, b->type, 1, "put");
  return 0;
}

// ---- Views

// Pushes the view of b's elements from `from` on that has this shape.
static void push_view(lua_State *L, const mfi_box *b, uint64_t from, const mfi_shape *s,
                      const char *method) {
  mfi_box *view = mfi_bind_empty(L, MFI_KIND_ARRAY);
  uint32_t place;
  mfi_handle h = mfi_array_view(b->m->self, b->o, from, s, &place);
  if (h == 0) {
    mfi_bind_array_collect(L);
    h = mfi_array_view(b->m->self, b->o, from, s, &place);
  }
  if (h == 0)
    mfi_bind_raise(L, MFI_NOMEM, method);
  mfi_bind_fill(L, view, h, place);
}

int mfi_bind_array_view(lua_State *L) {
  mfi_box *b = self_of(L, "view");
  uint64_t from;
  mfi_shape s = {.type = b->type, .dims = 1};
  mfi_bind_array_range(L, b, "view", &from, &s.count);
  s.size[0] = s.count;
  push_view(L, b, from, &s, "view");
  return 1;
}

// The first `more` of k parts have a row more than the others.
int mfi_bind_array_split(lua_State *L) {
  mfi_box *b = self_of(L, "split");
  uint64_t k = mfi_bind_integer(L, 2, 1, "split", 1, INT32_MAX), from = 0;
  mfi_shape s = *shape_of(b);
  uint64_t rows = s.size[0], more = rows % k;
  lua_createtable(L, k < 100000 ? (int)k : 0, 0);
  for (uint64_t i = 0; i < k; i++) {
    s.size[0] = rows / k + (i < more ? 1 : 0);
    mfi_shape_multiply(&s); // no more than all
    push_view(L, b, from, &s, "split");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
    from += s.count;
  }
  return 1;
}

int mfi_bind_array_reshape(lua_State *L) {
  mfi_box *b = self_of(L, "reshape");
  int n = lua_gettop(L) - 1;
  mfi_shape s = {.type = b->type, .dims = (uint32_t)n};
  if (n < 1 || n > MFI_ARRAY_DIMS)
    return luaL_error(L, "bad argument #1 to 'reshape' (from 1 to %d sizes expected, got %d)",
                      MFI_ARRAY_DIMS, n);
  for (int i = 1; i <= n; i++)
    s.size[i - 1] = mfi_bind_integer(L, i + 1, i, "reshape", 0, INT64_MAX);
  if (!mfi_shape_multiply(&s) || s.count != b->count)
    return luaL_error(L, "bad argument #1 to 'reshape' (sizes of %I elements expected, got %s)",
                      (LUAI_UACINT)b->count, push_sizes(L, &s));
  push_view(L, b, 0, &s, "reshape");
  return 1;
}
