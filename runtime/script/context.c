// A state's context. Floor 5; see context.h. Locks nothing, sleeps nowhere.
#include "script/context.h"

#include "base/atomic.h"
#include "script/embed.h"
#include "script/error.h"
#include "script/place.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdlib.h>
#include <string.h>

static const char context_key, traceback_key;

mfi_context *mfi_context_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &context_key);
  mfi_context *m = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return m;
}

// ---- Opening

// Pushes the text of an embedded module as a function: from $MOONFLEET_LUA_DIR, where that is set,
// else as the build left it. [-0, +1, v]
static void load_text(lua_State *L, const mfi_embedded *e) {
  const char *folder = getenv("MOONFLEET_LUA_DIR");
  const char *name = strcmp(e->name, "moonfleet") == 0 ? "init" : e->name + sizeof "moonfleet";
  int status;
  if (folder != NULL && folder[0] != '\0')
    status = luaL_loadfilex(L, lua_pushfstring(L, "%s/moonfleet/%s.lua", folder, name), "t");
  else
    status = luaL_loadbufferx(L, e->text, e->size, lua_pushfstring(L, "=%s", e->name), "t");
  if (status != LUA_OK)
    lua_error(L);
}

// Loads an embedded module; upvalue 1 is its row. [-0, +1, v]
static int load_embedded(lua_State *L) {
  const mfi_embedded *e = lua_touserdata(L, lua_upvalueindex(1));
  load_text(L, e);
  lua_pushstring(L, e->name);
  lua_call(L, 1, 1);
  return 1;
}

// package.preload's __index: our own modules are found there without being entered into it, which
// would be the dearest part of opening a state. [-0, +0..1, m]
static int preload_index(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strncmp(name, "moonfleet", 9) != 0)
    return 0;
  if (strcmp(name, "moonfleet.core") == 0) {
    lua_pushcfunction(L, mfi_state_bindings.open_core);
    return 1;
  }
  const mfi_embedded *e = mfi_embedded_modules;
  while (e->name != NULL && strcmp(e->name, name) != 0)
    e++;
  if (e->name == NULL)
    return 0;
  lua_pushlightuserdata(L, (void *)(uintptr_t)e);
  lua_pushcclosure(L, load_embedded, 1);
  return 1;
}

static void preload_modules(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, preload_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

mfi_context *mfi_context_open(lua_State *L, mfi_self *self) {
  mfi_context *m = lua_newuserdatauv(L, sizeof *m, 0);
  memset(m, 0, sizeof *m);
  m->self = self;
  self->where = mfi_place_here;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  m->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &context_key);
  mfi_codec_hooks hooks = *mfi_state_bindings.hooks;
  hooks.ud = m;
  hooks.process = (uint64_t)mfi_os_pid();
  m->codec = mfi_codec_open(L, &hooks);
  preload_modules(L);
  return m;
}

unsigned mfi_context_flags(const mfi_context *m) {
  bool worker = m->worker != NULL || m->depth > 0;
  return worker ? MFI_DECODE_WORKER : MFI_DECODE_FUNCTIONS | MFI_DECODE_REQUIRE;
}

// ---- Errors

int mfi_context_traceback(lua_State *L) {
  mfi_stop *s = mfi_stop_current();
  if (s != NULL && mfi_stop_raised(s) != 0)
    return 1;
  luaL_traceback(L, L, NULL, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
  return 1;
}

void mfi_context_push_traceback(lua_State *L, bool take) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &traceback_key);
  if (!take)
    return;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
}

// ---- Looking up

bool mfi_context_has_due(const mfi_context *m) {
  mfi_slot *s = m->self->slot;
  return load_acquire(&s->due) != 0 || load_acquire(&s->look) != 0;
}

void mfi_context_note_due(mfi_context *m) {
  fetch_or_seqcst(&m->self->slot->notes, (uint32_t)MFI_NOTE_DUE);
}

// What an error leaves due is run by the next waiting call.
int mfi_context_run_due(lua_State *L) {
  mfi_context *m = mfi_context_of(L);
  mfi_note_clear(m->self, MFI_NOTE_DUE);
  if (!mfi_context_has_due(m))
    return 0;
  if (lua_getfield(L, LUA_REGISTRYINDEX, "moonfleet.due") != LUA_TFUNCTION) {
    lua_pop(L, 1);
    return 0;
  }
  int status = lua_pcall(L, 0, 1, 0);
  if (status != LUA_OK) {
    mfi_context_note_due(m);
    lua_error(L);
  }
  int n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

void mfi_context_look_up(lua_State *L) {
  mfi_context *m = mfi_context_of(L);
  uint32_t notes = load_acquire(&m->self->slot->notes);
  mfi_event_done(m->self);
  if (m->stop == NULL && (notes & MFI_NOTE_INTERRUPT) != 0) // of a C host, until it takes it back
    mfi_error_raise(L, "interrupted", "interrupted!");
  if ((notes & (MFI_NOTE_STOP | MFI_NOTE_INTERRUPT)) != 0)
    mfi_note_clear(m->self, MFI_NOTE_STOP | MFI_NOTE_INTERRUPT);
  if (m->stop != NULL)
    mfi_stop_check(L);
  if ((notes & MFI_NOTE_DUE) != 0)
    mfi_context_run_due(L);
}

// ---- Payloads

static void copy_encoded(const void *ctx, void *to) { mfi_encoded_copy(ctx, to); }

mfi_source mfi_context_source(const mfi_encoded *m) {
  return (mfi_source){
      .size = m->size, .refs = m->refs, .nrefs = m->nrefs, .copy = copy_encoded, .ctx = m};
}

static uint64_t pad8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

static void copy_parcel(const void *ctx, void *to) {
  const mfi_parcel *p = ctx;
  char *at = to;
  mfi_parcel_head head = {.size = p->part[0].size, .nrefs = p->part[0].nrefs};
  memcpy(at, &head, sizeof head);
  mfi_encoded_copy(&p->part[0], at + sizeof head);
  mfi_encoded_copy(&p->part[1], at + sizeof head + pad8(head.size));
}

mfi_source mfi_parcel_pack(lua_State *L, mfi_parcel *p) {
  uint32_t n0 = p->part[0].nrefs, n1 = p->part[1].nrefs;
  p->refs = lua_newuserdatauv(L, (n0 + n1 + 1) * sizeof *p->refs, 0);
  if (n0 != 0)
    memcpy(p->refs, p->part[0].refs, n0 * sizeof *p->refs);
  if (n1 != 0)
    memcpy(p->refs + n0, p->part[1].refs, n1 * sizeof *p->refs);
  uint64_t size = sizeof(mfi_parcel_head) + pad8(p->part[0].size) + p->part[1].size;
  return (mfi_source){
      .size = size, .refs = p->refs, .nrefs = n0 + n1, .copy = copy_parcel, .ctx = p};
}

void mfi_parcel_open(const mfi_body *body, const void *bytes, uint64_t size, mfi_message part[2]) {
  const mfi_parcel_head *head = bytes;
  const char *at = (const char *)bytes + sizeof *head;
  part[0] = (mfi_message){
      .bytes = (const uint8_t *)at, .size = head->size, .refs = body->refs, .nrefs = head->nrefs};
  uint64_t behind = sizeof *head + pad8(head->size);
  part[1] = (mfi_message){.bytes = (const uint8_t *)bytes + behind,
                          .size = size - behind,
                          .refs = body->refs + head->nrefs,
                          .nrefs = body->nrefs - head->nrefs};
}
