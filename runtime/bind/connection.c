// Pipe and Connection in Lua. Floor 7. Sleeps in recv and poll.
#include "flow/connection.h"

#include "bind/calls.h"
#include "bind/core.h"
#include "bind/taken.h"

static mfi_box *self_of(lua_State *L, const char *method) {
  return mfi_bind_self(L, MFI_KIND_CONNECTION, method);
}

static int give_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "closed");
  return 2;
}

// ---- Sending

static mfi_box *sender(lua_State *L, const char *method) {
  mfi_box *b = self_of(L, method);
  if (mfi_connection_of(b->o)->tx == 0)
    luaL_error(L,
               "cannot %s on Connection(#%I): this end only receives, the other one sends "
               "(both do both in mf.Pipe())",
               method, (LUAI_UACINT)b->o->number);
  return b;
}

// Sends the value at 2.
static int send(lua_State *L, mfi_box *b, void (*copy)(const void *ctx, void *to)) {
  mfi_encoded e;
  lua_settop(L, 2);
  mfi_encode(b->m->codec, L, 2, 1, "value", 0, &e);
  mfi_source src = mfi_context_source(&e);
  if (copy != NULL)
    src.copy = copy;
  mfi_status st = mfi_connection_send(b->m->self, b->o, &src);
  mfi_encoded_release(b->m->codec, L, &e);
  if (st == MFI_CLOSED)
    return give_closed(L);
  if (st != MFI_OK)
    mfi_bind_raise(L, st == MFI_DECODE ? MFI_CLOSED : st, "send");
  lua_pushboolean(L, 1);
  return 1;
}

static int connection_send(lua_State *L) { return send(L, sender(L, "send"), NULL); }

static void copy_bytes(const void *ctx, void *to) {
  mfi_encoded_copy(ctx, to);
  *(uint8_t *)to |= MFI_MESSAGE_BYTES;
}

static int connection_send_bytes(lua_State *L) {
  mfi_box *b = sender(L, "send_bytes");
  if (lua_type(L, 2) != LUA_TSTRING)
    return luaL_error(L,
                      "bad argument #1 to 'send_bytes' (string expected, got %s; send(v) takes "
                      "any value)",
                      lua_isnone(L, 2) ? "no value" : luaL_typename(L, 2));
  return send(L, b, copy_bytes);
}

// ---- Receiving

static mfi_box *receiver(lua_State *L, const char *method) {
  mfi_box *b = self_of(L, method);
  if (mfi_connection_of(b->o)->rx == 0)
    luaL_error(L,
               "cannot %s on Connection(#%I): this end only sends, the other one receives "
               "(both do both in mf.Pipe())",
               method, (LUAI_UACINT)b->o->number);
  return b;
}

static mfi_status are_bytes(void *ctx, const mfi_taken *message) {
  (void)ctx;
  return (*(const uint8_t *)message->bytes & MFI_MESSAGE_BYTES) != 0 ? MFI_OK : MFI_TYPE;
}

static int receive(lua_State *L, const char *method, mfi_accept_fn *accept) {
  mfi_box *b = receiver(L, method);
  mfi_ns until = mfi_bind_timeout(L, 2, method, "poll() tells without waiting");
  mfi_taken t;
  mfi_status st;
  for (;;) {
    mfi_object *rx = mfi_connection_rx(b->m->self, b->o);
    st = mfi_queue_get_if(b->m->self, rx, until, accept, NULL, &t);
    if (st != MFI_INTERRUPTED)
      break;
    mfi_context_look_up(L);
    receiver(L, method); // a callback may have closed it
  }
  if (st == MFI_TYPE)
    return luaL_error(L,
                      "cannot %s on Connection(#%I): the next message was sent by send(); "
                      "recv() takes it",
                      method, (LUAI_UACINT)b->o->number);
  if (st == MFI_CLOSED)
    return give_closed(L);
  if (st != MFI_OK) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
  }
  mfi_bind_open_taken(L, b, &t);
  return 1;
}

static int connection_recv(lua_State *L) { return receive(L, "recv", NULL); }
static int connection_recv_bytes(lua_State *L) { return receive(L, "recv_bytes", are_bytes); }

static int connection_poll(lua_State *L) {
  mfi_box *b = receiver(L, "poll");
  mfi_ns until = lua_isnoneornil(L, 2) ? 0 : mfi_bind_timeout(L, 2, "poll", NULL);
  mfi_status st;
  for (;;) {
    st = mfi_queue_wait(b->m->self, mfi_connection_rx(b->m->self, b->o), until);
    if (st != MFI_INTERRUPTED)
      break;
    mfi_context_look_up(L);
    receiver(L, "poll");
  }
  lua_pushboolean(L, st == MFI_OK);
  if (st == MFI_OK)
    return 1;
  lua_pushliteral(L, "timeout");
  return 2;
}

// ---- The rest

// This handle only; twice is harmless.
static int connection_close(lua_State *L) {
  mfi_box *b = mfi_bind_test(L, 1, MFI_KIND_CONNECTION);
  if (b == NULL)
    self_of(L, "close");
  mfi_bind_put_out(L);
  mfi_bind_release(L, b);
  return 0;
}

static int core_pipe(lua_State *L) {
  mfi_context *m = mfi_bind_context(L);
  bool duplex = lua_toboolean(L, 1);
  mfi_end ends[2];
  mfi_box *box[2];
  for (int i = 0; i < 2; i++)
    box[i] = mfi_bind_empty(L, MFI_KIND_CONNECTION);
  mfi_status st = mfi_pipe_make(m->self, duplex, ends);
  if (st != MFI_OK)
    mfi_bind_raise(L, st, "Pipe");
  for (int i = 0; i < 2; i++)
    mfi_bind_own(box[i], ends[i].handle, ends[i].place);
  for (int i = 0; i < 2; i++) {
    lua_pushvalue(L, i - 2);
    mfi_bind_remember(L, box[i]);
    lua_pop(L, 1);
  }
  return 2;
}

void mfi_bind_open_connection(lua_State *L) {
  static const luaL_Reg methods[] = {{"send", connection_send},
                                     {"send_bytes", connection_send_bytes},
                                     {"recv", connection_recv},
                                     {"recv_bytes", connection_recv_bytes},
                                     {"poll", connection_poll},
                                     {"close", connection_close},
                                     {NULL, NULL}};
  mfi_bind_methods(L, MFI_KIND_CONNECTION, methods);
  mfi_bind_metatable(L, MFI_KIND_CONNECTION);
  lua_pushcfunction(L, connection_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  mfi_bind_open_fields(L, MFI_KIND_CONNECTION);
  lua_pushcfunction(L, core_pipe);
  lua_setfield(L, -2, "Pipe");
}
