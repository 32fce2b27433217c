// math.random for workers: xoshiro256** as in Lua, with the same sequence for the same randomseed,
// but seeded apart for each worker, and with a state that can be kept and set (one stream for each
// item of a seeded map).
// Floor 5. Locks nothing, sleeps nowhere.
#ifndef MFI_SCRIPT_RANDOM_H
#define MFI_SCRIPT_RANDOM_H

#include <lua.h>

#include <stdint.h>

typedef struct mfi_random {
  uint64_t s[4]; // not all 0
} mfi_random;

// A stream for each pair: (seed of the call, index of the item), (random number, worker).
void mfi_random_seed(mfi_random *r, uint64_t seed, uint64_t stream);
uint64_t mfi_random_next(mfi_random *r);

// The stream of a state that mfi_state_open made; save and restore it by assignment.
mfi_random *mfi_random_of(lua_State *L);

// Replaces random and randomseed in the math library at the top of such a state. [-0, +0, m]
void mfi_random_install(lua_State *L);

#endif
