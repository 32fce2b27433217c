// pcall, xpcall and the coroutine functions that let a stop through: see stop.h. Floor 5. Locks
// nothing, sleeps nowhere. Else they do what those of Lua 5.4's lbaselib.c and lcorolib.c do, to
// the letter of their messages.
#include "script/state_memory.h"
#include "script/stop_pass.h"

#include <lauxlib.h>
#include <lualib.h>

#include <string.h>

// ---- pcall and xpcall
// ----------------------------------------------------------------------------

// Both keep the function in slot 1, so that mfi_stop_in_close can tell it from a __close method
// that runs at its place when it failed. In the context: the mark, and the slots before the
// results.
static lua_KContext context_of(mfi_stop_mark mark, int skip) {
  return (lua_KContext)(((uint64_t)mark << 2) | (uint64_t)skip);
}

static int finish_pcall(lua_State *L, int status, lua_KContext context) {
  mfi_stop_mark mark = (mfi_stop_mark)((uint64_t)context >> 2);
  int skip = (int)((uint64_t)context & 3);
  bool failed = status != LUA_OK && status != LUA_YIELD;
  if (skip == 2)
    mfi_stop_handler_off(L);
  if (failed && mfi_stop_passed(mark))
    mfi_stop_pass_error(L);
  mfi_stop_pass(L, mark);
  if (!failed)
    return lua_gettop(L) - skip;
  lua_pushboolean(L, 0);
  lua_pushvalue(L, -2);
  return 2;
}

// pcall(f, ...) [-0, +n, v]
int mfi_stop_pcall(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_pushvalue(L, 1);
  lua_rotate(L, 2, 2); // f, true, f, ...
  lua_KContext context = context_of(mfi_stop_mark_now(), 1);
  int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 0, context, finish_pcall);
  return finish_pcall(L, status, context);
}

// xpcall(f, handler, ...) [-0, +n, v]
int mfi_stop_xpcall(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushboolean(L, 1);
  lua_pushvalue(L, 1);
  lua_rotate(L, 3, 2); // f, handler, true, f, ...
  lua_KContext context = context_of(mfi_stop_mark_now(), 2);
  mfi_stop_handler_on(L);
  int status = lua_pcallk(L, lua_gettop(L) - 4, LUA_MULTRET, 2, context, finish_pcall);
  return finish_pcall(L, status, context);
}

// ---- Coroutines
// ----------------------------------------------------------------------------------

static lua_State *check_coroutine(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "thread");
  return co;
}

static int resume_plain(lua_State *L, lua_State *co, int nargs, int *nresults) {
  mfi_stop_frame frame;
  mfi_stop_enter(&frame, co, false);
  int status = lua_resume(co, L, nargs, nresults);
  mfi_stop_leave(&frame);
  return status;
}

// Closes what a stopped or failed coroutine has open; the error that is left is co's top.
static int reset(lua_State *co) {
  mfi_stop_frame frame;
  mfi_stop_enter(&frame, co, true);
  int status = lua_resetthread(co);
  mfi_stop_leave(&frame);
  return status;
}

// A stop ended co, with the error that is L's top: runs co's __close methods (lua_resume does not),
// then goes on to L's.
static _Noreturn void pass_from(lua_State *L, lua_State *co) {
  if (!(mfi_stop_raised(mfi_stop_current()) & MFI_STOP_KILL))
    reset(co);
  mfi_stop_pass_error(L);
}

// As lcorolib.c's auxresume: the number of results, or -1 with a message on top.
static int resume_with(lua_State *L, lua_State *co, int nargs) {
  int nresults;
  if (!lua_checkstack(co, nargs)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, nargs);
  mfi_stop_mark mark = mfi_stop_mark_now();
  int status = resume_plain(L, co, nargs, &nresults);
  bool failed = status != LUA_OK && status != LUA_YIELD;
  if (failed)
    lua_xmove(co, L, 1);
  if (failed && mfi_stop_passed(mark))
    pass_from(L, co);
  mfi_stop_pass(L, mark);
  if (failed)
    return -1;
  if (!lua_checkstack(L, nresults + 1)) {
    lua_pop(co, nresults);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, nresults);
  return nresults;
}

// coroutine.resume(co, ...) [-0, +n, v]
static int co_resume(lua_State *L) {
  lua_State *co = check_coroutine(L);
  int n = resume_with(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, n >= 0);
  if (n < 0)
    n = 1;
  lua_insert(L, -(n + 1));
  return n + 1;
}

// Closes co after its own error, which is on L's top and gives way to the one that closing leaves
// (Lua 5.4.0 to 5.4.2 leave none).
static int close_failed(lua_State *L, lua_State *co) {
  int status = lua_status(co);
  if (status == LUA_OK || status == LUA_YIELD)
    return status;
  mfi_stop_mark mark = mfi_stop_mark_now();
  status = reset(co);
  if (mfi_stop_passed(mark))
    mfi_stop_pass_error(L);
  if (status != LUA_OK)
    lua_xmove(co, L, 1);
  return status;
}

// What coroutine.wrap gives; upvalue 1: the coroutine. [-0, +n, v]
static int wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int n = resume_with(L, co, lua_gettop(L));
  if (n >= 0)
    return n;
  int status = close_failed(L, co);
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

// coroutine.wrap(f) [-0, +1, v]
static int co_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

// Why a coroutine cannot be closed; NULL: it can.
static const char *busy(lua_State *L, lua_State *co) {
  lua_Debug ar;
  if (L == co)
    return "running";
  return lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar) ? "normal" : NULL;
}

// coroutine.close(co) [-0, +1..2, v]
static int co_close(lua_State *L) {
  lua_State *co = check_coroutine(L);
  const char *status_name = busy(L, co);
  if (status_name != NULL)
    return luaL_error(L, "cannot close a %s coroutine", status_name);
  mfi_stop_mark mark = mfi_stop_mark_now();
  int status = reset(co);
  mfi_stop_pass(L, mark);
  lua_pushboolean(L, status == LUA_OK);
  if (status == LUA_OK)
    return 1;
  lua_xmove(co, L, 1);
  return 2;
}

// ---- Installing
// ----------------------------------------------------------------------------------

static void replace_coroutine(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"resume", co_resume}, {"wrap", co_wrap}, {"close", co_close}, {NULL, NULL}};
  if (lua_getglobal(L, LUA_COLIBNAME) == LUA_TTABLE)
    luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}

void mfi_stop_wrap(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"pcall", mfi_stop_pcall}, {"xpcall", mfi_stop_xpcall}, {NULL, NULL}};
  lua_pushglobaltable(L);
  luaL_setfuncs(L, functions, 0);
  mfi_state_push_load(L, false);
  lua_setfield(L, -2, "load");
  lua_pop(L, 1);
  replace_coroutine(L);
}

// ---- Inside a __close?
// ---------------------------------------------------------------------------

// The level's function is a pcall's, but not what that was given: a __close method, run by
// unwinding. The function of the level below is L's top. [-0, +0, -]
static bool unwinds_to(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "f", ar);
  lua_CFunction f = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  if (f != mfi_stop_pcall && f != mfi_stop_xpcall)
    return false;
  if (lua_getlocal(L, ar, 1) == NULL)
    return false;
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  return !same;
}

bool mfi_stop_in_close(lua_State *L) {
  lua_Debug ar;
  bool found = false;
  if (!lua_checkstack(L, 4))
    return false;
  lua_pushnil(L);
  for (int level = 0; !found && level < MFI_STOP_LOOK_AT && lua_getstack(L, level, &ar); level++) {
    found = level > 0 && unwinds_to(L, &ar);
    lua_getinfo(L, "nf", &ar);
    lua_replace(L, -2);
    if (ar.name != NULL && ar.namewhat[0] == 'm')
      found = found || strcmp(ar.name, "close") == 0;
  }
  lua_pop(L, 1);
  return found;
}
