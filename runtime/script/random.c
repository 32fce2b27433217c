// xoshiro256** for math.random: see random.h. Floor 5. Locks nothing, sleeps nowhere.
//
// The projection onto an interval, the float conversion and what a seed means are those of
// Lua 5.4's lmathlib.c, so that one program draws the same numbers inside and outside of a worker.
#include "script/random.h"

#include "script/state_memory.h"

#include <lauxlib.h>

#include <string.h>

static uint64_t rotl(uint64_t x, int n) { return (x << n) | (x >> (64 - n)); }

uint64_t mfi_random_next(mfi_random *r) {
  uint64_t *s = r->s;
  uint64_t result = rotl(s[1] * 5, 7) * 9;
  uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return result;
}

// splitmix64: turns any two words, however alike, into words that have nothing in common.
static uint64_t mix(uint64_t *x) {
  uint64_t z = (*x += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void mfi_random_seed(mfi_random *r, uint64_t seed, uint64_t stream) {
  uint64_t a = seed, b = stream;
  for (int i = 0; i < 4; i++) {
    a ^= mix(&b); // each word depends on both numbers
    r->s[i] = mix(&a);
  }
  r->s[0] |= (uint64_t)((r->s[0] | r->s[1] | r->s[2] | r->s[3]) == 0);
}

mfi_random *mfi_random_of(lua_State *L) { return &mfi_memory_of(L)->random; }

// [0, n], without bias.
static lua_Unsigned project(lua_Unsigned ran, lua_Unsigned n, mfi_random *r) {
  if ((n & (n + 1)) == 0)
    return ran & n;
  lua_Unsigned limit = ~(lua_Unsigned)0 >> __builtin_clzll(n);
  while ((ran &= limit) > n)
    ran = mfi_random_next(r);
  return ran;
}

static int push_between(lua_State *L, uint64_t ran, lua_Integer low, lua_Integer up) {
  luaL_argcheck(L, low <= up, 1, "interval is empty");
  lua_Unsigned span = (lua_Unsigned)up - (lua_Unsigned)low;
  lua_Unsigned n = project(ran, span, mfi_random_of(L)) + (lua_Unsigned)low;
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

// math.random([m [, n]]) [-0, +1, v]
static int math_random(lua_State *L) {
  uint64_t ran = mfi_random_next(mfi_random_of(L));
  switch (lua_gettop(L)) {
  case 0:
    lua_pushnumber(L, (lua_Number)(ran >> 11) * 0x1p-53);
    return 1;
  case 1: {
    lua_Integer up = luaL_checkinteger(L, 1);
    if (up != 0)
      return push_between(L, ran, 1, up);
    lua_pushinteger(L, (lua_Integer)ran);
    return 1;
  }
  case 2: {
    lua_Integer low = luaL_checkinteger(L, 1);
    return push_between(L, ran, low, luaL_checkinteger(L, 2));
  }
  default:
    return luaL_error(L, "wrong number of arguments");
  }
}

// A float that is no integer is as good a seed: its bits.
static lua_Integer check_seed(lua_State *L, int arg) {
  int is_integer;
  lua_Integer n = lua_tointegerx(L, arg, &is_integer);
  if (is_integer)
    return n;
  lua_Number x = luaL_checknumber(L, arg);
  memcpy(&n, &x, sizeof n);
  return n;
}

// math.randomseed([x [, y]]): the two seeds, as Lua gives them. [-0, +2, v]
static int math_randomseed(lua_State *L) {
  mfi_random *r = mfi_random_of(L);
  lua_Integer n1, n2;
  if (lua_isnone(L, 1)) {
    n1 = (lua_Integer)mfi_random_next(r); // the worker's own stream is seeded from the system
    n2 = (lua_Integer)mfi_random_next(r);
  } else {
    n1 = check_seed(L, 1);
    n2 = luaL_optinteger(L, 2, 0);
  }
  *r = (mfi_random){{(uint64_t)n1, 0xff, (uint64_t)n2, 0}};
  for (int i = 0; i < 16; i++)
    mfi_random_next(r);
  lua_pushinteger(L, n1);
  lua_pushinteger(L, n2);
  return 2;
}

void mfi_random_install(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"random", math_random}, {"randomseed", math_randomseed}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
