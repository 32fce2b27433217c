// The allocator of a worker's Lua state: see state_memory.h. Floor 5. Locks nothing, sleeps
// nowhere.
#include "script/state_memory.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

static void *with_malloc(void *ud, void *block, size_t old_size, size_t new_size) {
  MFI_UNUSED(ud);
  MFI_UNUSED(old_size);
  if (new_size == 0) {
    free(block);
    return NULL;
  }
  return realloc(block, new_size);
}

mfi_memory *mfi_memory_open(const mfi_state_config *config) {
  lua_Alloc parent = config->alloc ? config->alloc : with_malloc;
  mfi_memory *m = parent(config->alloc_ud, NULL, 0, sizeof *m);
  if (m == NULL)
    return NULL;
  memset(m, 0, offsetof(mfi_memory, pool)); // the pool's pages are touched as they are used
  m->parent = parent;
  m->parent_ud = config->alloc_ud;
  m->limit = config->memory_limit ? config->memory_limit : SIZE_MAX;
  m->config = *config;
  return m;
}

void mfi_memory_close(mfi_memory *m) { m->parent(m->parent_ud, m, sizeof *m, 0); }

static bool in_pool(const mfi_memory *m, const void *block) {
  return (uintptr_t)block - (uintptr_t)m->pool < MFI_POOL_BYTES;
}

static size_t grains(size_t size) { return (size + MFI_GRAIN - 1) / MFI_GRAIN; }

static void *take(mfi_memory *m, size_t size) {
  if (size <= MFI_SMALL) {
    size_t n = grains(size);
    void *block = m->free[n];
    if (block != NULL) {
      memcpy(&m->free[n], block, sizeof block);
      return block;
    }
    if (n * MFI_GRAIN <= MFI_POOL_BYTES - m->cut) {
      block = m->pool + m->cut;
      m->cut += n * MFI_GRAIN;
      return block;
    }
  }
  return m->parent(m->parent_ud, NULL, 0, size);
}

static void give(mfi_memory *m, void *block, size_t size) {
  if (!in_pool(m, block)) {
    m->parent(m->parent_ud, block, size, 0);
  } else if (!m->closing) {
    size_t n = grains(size);
    memcpy(block, &m->free[n], sizeof block);
    m->free[n] = block;
  }
}

// A block that stays outside of the pool, or stays in its grains, need not be copied by us.
static void *resize(mfi_memory *m, void *block, size_t old_size, size_t new_size) {
  bool pooled = in_pool(m, block);
  if (pooled && grains(old_size) == grains(new_size))
    return block;
  if (!pooled && (new_size > MFI_SMALL || m->cut == MFI_POOL_BYTES))
    return m->parent(m->parent_ud, block, old_size, new_size);
  void *moved = take(m, new_size);
  if (moved == NULL)
    return NULL;
  memcpy(moved, block, old_size < new_size ? old_size : new_size);
  give(m, block, old_size);
  return moved;
}

// Lua counts on it that a block shrinks without fail: what could not be moved stays where it is,
// and is later kept with the smaller ones.
static void *reallocate(mfi_memory *m, void *block, size_t old_size, size_t new_size) {
  void *result = resize(m, block, old_size, new_size);
  return result == NULL && new_size < old_size ? block : result;
}

static bool over_limit(const mfi_memory *m, size_t old_size, size_t new_size) {
  if (new_size <= old_size)
    return false;
  size_t left = m->limit > m->used ? m->limit - m->used : 0;
  return new_size - old_size > left;
}

void *mfi_memory_alloc(void *ud, void *block, size_t old_size, size_t new_size) {
  mfi_memory *m = ud;
  if (block == NULL)
    old_size = 0; // Lua passes the kind of object there
  if (new_size == 0) {
    if (block != NULL)
      give(m, block, old_size);
    m->used -= old_size;
    return NULL;
  }
  if (over_limit(m, old_size, new_size)) {
    m->limit_hit = true;
    return NULL;
  }
  void *result = block ? reallocate(m, block, old_size, new_size) : take(m, new_size);
  if (result != NULL)
    m->used += new_size - old_size;
  return result;
}

mfi_memory *mfi_memory_of(lua_State *L) {
  void *ud;
  lua_getallocf(L, &ud);
  return ud;
}
