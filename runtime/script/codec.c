// The codec's state, scratch memory and results; see codec.h.
//
// Floor 5 (script). Locks nothing, sleeps nowhere.
#include "script/codec.h"

#include "script/encoder.h"
#include "script/error.h"
#include "script/func_code.h"
#include "script/peek.h"

#include <lauxlib.h>

#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES ((size_t)256 << 10) // scratch memory that survives a release

// Registry, by address: the codec; {name = class} of those to be published.
static const char codec_key = 0, unpublished_key = 0;

// ---- Opening

static void encoder_destroy(encoder *e) {
  if (e == NULL)
    return;
  free(e->bytes);
  free(e->pieces);
  free(e->refs);
  seen *const all[] = {&e->objects, &e->upvalues, &e->codes};
  for (int i = 0; i < 3; i++) {
    free(all[i]->pointers);
    free(all[i]->buckets);
  }
  mfi_code_scan_fini(&e->scan);
  free(e->dump);
  free(e->frames);
  free(e->plain);
  free(e->saves);
  free(e->list);
  free(e);
}

static int codec_gc(lua_State *L) { // [-0, +0, -]
  mfi_codec *c = lua_touserdata(L, 1);
  for (int i = 0; i < c->nencoders; i++)
    encoder_destroy(c->encoders[i]);
  free(c->encoders);
  c->encoders = NULL;
  c->nencoders = 0;
  mfi_names_fini(&c->names);
  mfi_code_cache_destroy(c->cache);
  c->cache = NULL;
  return 0;
}

mfi_codec *mfi_codec_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &codec_key);
  mfi_codec *c = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return c;
}

mfi_codec *mfi_codec_open(lua_State *L, const mfi_codec_hooks *hooks) {
  luaL_checkstack(L, 8, NULL);
  mfi_codec *c = mfi_codec_of(L);
  if (c == NULL) {
    c = lua_newuserdatauv(L, sizeof *c, 0);
    memset(c, 0, sizeof *c);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, codec_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &codec_key);
    c->peek = mfi_peek_verify(L);
    lua_pushglobaltable(L);
    c->names.globals = lua_topointer(L, -1);
    lua_pop(L, 1);
    mfi_error_metatable(L);
    mfi_names_register(c, L, "mf.Error", -1);
    lua_pop(L, 1);
  }
  if (hooks != NULL)
    c->hooks = *hooks;
  return c;
}

void *mfi_codec_ud(const mfi_codec *c) { return c->hooks.ud; }

void mfi_codec_adopt(mfi_codec *c, lua_State *L, const char *name, int idx) {
  mfi_names_register(c, L, name, idx);
}

void mfi_codec_register(mfi_codec *c, lua_State *L, const char *name, int idx) {
  mfi_names_register(c, L, name, idx);
  if (c->hooks.publish_class == NULL)
    return;
  idx = lua_absindex(L, idx);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &unpublished_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &unpublished_key);
  }
  lua_pushvalue(L, idx);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
  c->unpublished = 1;
}

// Publishes what was registered since the last message; the hook encodes, too.
static void publish(mfi_codec *c, lua_State *L) {
  c->unpublished = 0;
  luaL_checkstack(L, 8, NULL);
  int top = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &unpublished_key);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &unpublished_key);
  for (lua_pushnil(L); lua_next(L, top + 1); lua_settop(L, top + 2))
    c->hooks.publish_class(L, lua_tostring(L, -2));
  lua_settop(L, top);
}

// ---- Scratch memory

void mfi_codec_grow(encoder *e, size_t n) {
  size_t room = e->room + e->room / 2 + n + 512;
  uint8_t *to = realloc(e->bytes, room);
  if (to == NULL)
    luaL_error(e->L, "not enough memory");
  e->bytes = to;
  e->room = room;
}

void mfi_codec_reserve(lua_State *L, void *array, size_t *room, size_t count, size_t size) {
  if (count <= *room)
    return;
  size_t to = *room + *room / 2 + 16;
  if (to < count)
    to = count;
  void *from, *p;
  memcpy(&from, array, sizeof from);
  p = realloc(from, to * size);
  if (p == NULL)
    luaL_error(L, "not enough memory");
  memcpy(array, &p, sizeof p);
  *room = to;
}

// The encoder for calls at the present depth.
static encoder *make_encoder(mfi_codec *c, lua_State *L) {
  if (c->depth >= c->nencoders) {
    encoder **to = realloc(c->encoders, (size_t)(c->depth + 1) * sizeof *to);
    if (to == NULL)
      luaL_error(L, "not enough memory");
    c->encoders = to;
    c->encoders[c->nencoders++] = NULL; // depth grows by one at a time
  }
  encoder *e = c->encoders[c->depth];
  if (e == NULL) {
    e = calloc(1, sizeof *e);
    if (e == NULL)
      luaL_error(L, "not enough memory");
    e->codec = c;
    c->encoders[c->depth] = e;
  }
  return e;
}

static inline encoder *encoder_of(mfi_codec *c, lua_State *L) {
  encoder *e = c->depth < c->nencoders ? c->encoders[c->depth] : NULL;
  return e != NULL ? e : make_encoder(c, L);
}

static void drop_anchors(encoder *e, lua_State *L) {
  if (!e->anchored)
    return;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, e);
  e->anchored = 0;
}

static void encoder_begin(encoder *e, lua_State *L, const char *roots, unsigned flags) {
  drop_anchors(e, L);
  e->at = 0;
  e->npieces = 0;
  e->piece_bytes = 0;
  e->nrefs = 0;
  e->in_list = 0;
  e->roots = roots;
  e->flags = flags;
}

// ---- One message

// Encodes values[first .. first + n) behind what the scratch memory holds, in FAST or HEAVY mode.
static void encode_message(encoder *e, lua_State *L, int first, int n, int heavy, mfi_encoded *m) {
  m->encoder = e;
  m->at = e->at;
  m->piece = e->npieces;
  uint64_t pieces_before = e->piece_bytes;
  uint32_t refs_before = e->nrefs;
  e->L = L;
  e->heavy = (uint8_t)heavy;
  const int may_be_plain =
      !heavy && (e->flags & ~(unsigned)(MFI_ENCODE_PORTABLE | MFI_ENCODE_DATA)) == 0;
  if (!may_be_plain || !mfi_codec_plain(e, first, n))
    mfi_codec_run(e, first, n);
  m->flags = e->message_flags;
  m->at_end = e->at;
  m->npieces = e->npieces - m->piece;
  m->size = (m->at_end - m->at) + (e->piece_bytes - pieces_before);
  m->nrefs = e->nrefs - refs_before;
  m->ref = refs_before;
}

// The scratch memory does not move any more: pointers into it hold.
static void settle(mfi_encoded *m) {
  m->bytes = m->npieces == 0 ? m->encoder->bytes + m->at : NULL;
  m->refs = m->nrefs == 0 ? NULL : m->encoder->refs + m->ref;
}

typedef struct heavy_call {
  encoder *e;
  mfi_encoded *m;
  int n;
} heavy_call;

static int run_heavy(lua_State *L) { // call values... -> nothing [-0, +0, v]
  const heavy_call *h = lua_touserdata(L, 1);
  mfi_names_refresh(h->e->codec, L);
  encode_message(h->e, L, 2, h->n, 1, h->m);
  return 0;
}

// Encodes anew what FAST could not. Whatever happens, depth is what it was before.
static void encode_heavy(encoder *e, lua_State *L, int first, int n, mfi_encoded *m) {
  mfi_codec *c = e->codec;
  heavy_call call = {.e = e, .m = m, .n = n};
  luaL_checkstack(L, n + 4, "too many values to send");
  lua_pushcfunction(L, run_heavy);
  lua_pushlightuserdata(L, &call);
  for (int i = 0; i < n; i++)
    lua_pushvalue(L, first + i);
  c->depth++;
  int status = lua_pcall(L, n + 1, 0, 0);
  c->depth--;
  if (status == LUA_OK)
    return;
  drop_anchors(e, L);
  lua_error(L);
}

// FAST, and HEAVY where that is not enough.
static void encode_one(encoder *e, lua_State *L, int first, int n, mfi_encoded *m) {
  size_t at = e->at;
  uint32_t npieces = e->npieces, nrefs = e->nrefs;
  uint64_t piece_bytes = e->piece_bytes;
  encode_message(e, L, first, n, 0, m);
  if (!e->wants_heavy)
    return;
  e->at = at;
  e->npieces = npieces;
  e->piece_bytes = piece_bytes;
  e->nrefs = nrefs;
  encode_heavy(e, L, first, n, m);
}

// One number, short string, boolean or nil, which is most of what is sent: nothing to set up. 0: it
// is not.
static int encode_scalar(encoder *e, lua_State *L, int idx, mfi_encoded *m) {
  e->L = L;
  e->at = 0;
  encoder_byte(e, 0);
  if (!mfi_codec_scalar(e, idx))
    return 0;
  *m = (mfi_encoded){.size = e->at, .bytes = e->bytes, .encoder = e, .at_end = e->at};
  return 1;
}

void mfi_encode(mfi_codec *c, lua_State *L, int first, int n, const char *roots, unsigned flags,
                mfi_encoded *out) {
  if (c->unpublished)
    publish(c, L);
  encoder *e = encoder_of(c, L);
  if (n == 1 && flags == 0 && !e->anchored && encode_scalar(e, L, first, out))
    return;
  encoder_begin(e, L, roots, flags);
  encode_one(e, L, first, n, out);
  settle(out);
}

const mfi_encoded *mfi_encode_list(mfi_codec *c, lua_State *L, int idx, size_t n, const char *roots,
                                   unsigned flags) {
  if (c->unpublished)
    publish(c, L);
  encoder *e = encoder_of(c, L);
  encoder_begin(e, L, roots, flags);
  luaL_checkstack(L, 4, NULL);
  idx = lua_absindex(L, idx);
  e->in_list = 1;
  mfi_codec_reserve(L, &e->list, &e->list_room, n, sizeof *e->list);
  int top = lua_gettop(L);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i + 1);
    e->root_base = i;
    encode_one(e, L, top + 1, 1, &e->list[i]);
    lua_settop(L, top);
  }
  e->root_base = 0;
  for (size_t i = 0; i < n; i++)
    settle(&e->list[i]);
  return e->list;
}

// ---- What becomes of it

void mfi_encoded_copy(const mfi_encoded *m, void *to) {
  const encoder *e = m->encoder;
  uint8_t *p = to;
  if (m->bytes != NULL) {
    memcpy(p, m->bytes, m->size);
    return;
  }
  size_t at = m->at;
  for (uint32_t i = 0; i < m->npieces; i++) {
    const piece *next = &e->pieces[m->piece + i];
    memcpy(p, e->bytes + at, next->at - at);
    p += next->at - at;
    at = next->at;
    memcpy(p, next->data, next->size);
    p += next->size;
  }
  memcpy(p, e->bytes + at, m->at_end - at);
}

static int new_userdata(lua_State *L) { // size -> userdata [-0, +1, m]
  lua_newuserdatauv(L, (size_t)lua_tointeger(L, 1), 0);
  return 1;
}

void mfi_encoded_keep(mfi_codec *c, lua_State *L, mfi_encoded *m) {
  luaL_checkstack(L, 4, NULL);
  // The allocation may run a finalizer that encodes: it must not find our encoder.
  size_t refs_size = m->nrefs * sizeof *m->refs;
  lua_pushcfunction(L, new_userdata);
  lua_pushinteger(L, (lua_Integer)(m->size + refs_size));
  c->depth++;
  int status = lua_pcall(L, 1, 1, 0);
  c->depth--;
  if (status != LUA_OK)
    lua_error(L);
  uint8_t *p = lua_touserdata(L, -1);
  uint64_t *refs = (uint64_t *)(void *)p;
  if (refs_size != 0)
    memcpy(refs, m->refs, refs_size);
  mfi_encoded_copy(m, p + refs_size);
  m->refs = refs;
  m->bytes = p + refs_size;
  m->encoder = NULL;
}

void mfi_encoded_release(mfi_codec *c, lua_State *L, mfi_encoded *m) {
  if (m->encoder == NULL)
    return; // kept
  encoder *e = c->encoders[c->depth];
  drop_anchors(e, L);
  if (e->room <= KEPT_BYTES)
    return;
  free(e->bytes);
  e->bytes = NULL;
  e->room = 0;
  e->at = 0;
}

// ---- Strings that keep a message
//
// A string is: magic, version, nrefs:u32, checksum:u64 over nrefs and all that follows, handles,
// message.

typedef struct frozen_head {
  uint8_t magic[4];
  uint8_t version[4]; // of this format, of Lua, sizes of its numbers
  uint32_t nrefs, zero;
  uint64_t checksum;
} frozen_head;

static const frozen_head frozen = {{0x93, 'M', 'F', 'E'}, {1, 0x54, 8, 8}, 0, 0, 0};

static uint64_t checksum_of(const void *data, size_t size, uint32_t nrefs) {
  return format_hash(data, size) ^ (nrefs + 1) * 0x9e3779b97f4a7c15u;
}

void mfi_codec_freeze(mfi_codec *c, lua_State *L, int first, int n, const char *roots) {
  mfi_encoded m;
  luaL_checkstack(L, 8, NULL);
  mfi_encode(c, L, first, n, roots, MFI_ENCODE_PORTABLE, &m);
  mfi_encoded_keep(c, L, &m); // Lua allocates from here on
  size_t refs = m.nrefs * sizeof *m.refs, size = sizeof frozen + refs + m.size;
  luaL_Buffer b;
  frozen_head head = frozen;
  char *p = luaL_buffinitsize(L, &b, size);
  if (refs != 0)
    memcpy(p + sizeof head, m.refs, refs);
  memcpy(p + sizeof head + refs, m.bytes, m.size);
  head.nrefs = m.nrefs;
  head.checksum = checksum_of(p + sizeof head, refs + m.size, m.nrefs);
  memcpy(p, &head, sizeof head);
  luaL_pushresultsize(&b, size);
  lua_remove(L, -2);
}

int mfi_codec_thaw(mfi_codec *c, lua_State *L, const char *data, size_t size, int functions) {
  frozen_head head;
  if (size < sizeof head || memcmp(data, frozen.magic, sizeof frozen.magic) != 0)
    mfi_error_raise(L, "decode", "cannot decode: the string was not made by mf.encode");
  memcpy(&head, data, sizeof head);
  if (memcmp(head.version, frozen.version, sizeof head.version) != 0)
    mfi_error_raise(L, "decode", "cannot decode: the string is of another version");
  size_t rest = size - sizeof head, refs = head.nrefs * sizeof(uint64_t);
  data += sizeof head;
  if (head.zero != 0 || refs > rest || head.checksum != checksum_of(data, rest, head.nrefs))
    mfi_error_raise(L, "decode", "cannot decode: the string is damaged");
  mfi_message m = {.bytes = (const uint8_t *)data + refs, .size = rest - refs, .nrefs = head.nrefs};
  m.refs = lua_newuserdatauv(L, refs + 1, 0); // aligned
  if (refs != 0)
    memcpy((void *)(uintptr_t)m.refs, data, refs);
  int n = mfi_decode(c, L, &m, functions ? MFI_DECODE_FUNCTIONS | MFI_DECODE_REQUIRE : 0);
  lua_remove(L, -1 - n);
  return n;
}
