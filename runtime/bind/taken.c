// Messages that were taken from a queue. Floor 7; see taken.h.
#include "bind/taken.h"

#include "flow/light.h"

typedef struct opening {
  mfi_box *box;
  mfi_taken *taken;
} opening;

static mfi_message message_of(const mfi_taken *t) {
  return (mfi_message){.bytes = t->bytes, .size = t->size, .refs = t->refs, .nrefs = t->nrefs};
}

static int decode_block(lua_State *L) {
  opening *o = lua_touserdata(L, 1);
  mfi_message m = message_of(o->taken);
  lua_settop(L, 0);
  return mfi_decode(o->box->m->codec, L, &m, mfi_context_flags(o->box->m));
}

void mfi_bind_open_taken(lua_State *L, mfi_box *b, mfi_taken *t) {
  if (b->light != NULL)
    mfi_light_look(b->light);
  if (t->block == 0) {
    mfi_message m = message_of(t);
    mfi_decode(b->m->codec, L, &m, mfi_context_flags(b->m));
    return;
  }
  opening o = {b, t};
  lua_pushcfunction(L, decode_block);
  lua_pushlightuserdata(L, &o);
  int status = lua_pcall(L, 1, 1, 0);
  mfi_message_free(b->m->self, t->block);
  if (status != LUA_OK)
    lua_error(L);
}
