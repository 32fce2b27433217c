// Inner locks and their redo records. Floor 2; see lock.h.
#include "mem/lock.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "mem/region.h"

#define NARROW ((uint64_t)1) // in pair.where: a 32-bit word

static char all_threads; // of this process, see base/tsan.h

void mfi_lock_init(mfi_lock *lock) {
  mfi_os_mutex_init(&lock->mutex);
  lock->count = 0;
  lock->filled = 0;
}

// Readers that look without the lock need the order: each word is released.
static void apply(mfi_self *self, mfi_lock *lock) {
  uint32_t n = load_relaxed(&lock->count);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t where = lock->pair[i].where;
    MFI_STEP();
    if ((where & NARROW) != 0)
      store_release((uint32_t *)mfi_at(self, where & ~NARROW), (uint32_t)lock->pair[i].value);
    else
      store_release((uint64_t *)mfi_at(self, where), lock->pair[i].value);
  }
  MFI_STEP();
  store_release(&lock->count, 0u);
}

void mfi_lock_take(mfi_self *self, mfi_lock *lock) {
  mfi_assert(self->depth < MFI_LOCKS_HELD);
  store_relaxed(&self->slot->locks[self->depth++], mfi_ref_of(self, lock));
  MFI_STEP();
  bool died = mfi_os_mutex_lock(&lock->mutex);
  mfi_tsan_taken(lock, &all_threads, mfi_os_pid());
  if (died)
    apply(self, lock);
  lock->filled = 0;
}

void mfi_lock_give(mfi_self *self, mfi_lock *lock) {
  mfi_tsan_given(lock, &all_threads, mfi_os_pid());
  MFI_STEP();
  mfi_os_mutex_unlock(&lock->mutex);
  MFI_STEP();
  mfi_assert(self->slot->locks[self->depth - 1] == mfi_ref_of(self, lock));
  store_relaxed(&self->slot->locks[--self->depth], (mfi_ref)0);
}

static void add(mfi_self *self, mfi_lock *lock, void *word, uint64_t mark, uint64_t value) {
  uint32_t i = lock->filled;
  mfi_assert(i < MFI_PAIRS && load_relaxed(&lock->count) == 0);
  MFI_STEP();
  lock->pair[i].where = mfi_ref_of(self, word) | mark;
  lock->pair[i].value = value;
  lock->filled = i + 1;
}

void mfi_change64(mfi_self *self, mfi_lock *lock, uint64_t *word, uint64_t value) {
  add(self, lock, word, 0, value);
}

void mfi_change32(mfi_self *self, mfi_lock *lock, uint32_t *word, uint32_t value) {
  add(self, lock, word, NARROW, value);
}

void mfi_lock_commit(mfi_self *self, mfi_lock *lock) {
  MFI_STEP();
  store_release(&lock->count, lock->filled);
  apply(self, lock);
  lock->filled = 0;
}

void mfi_change_two(mfi_self *self, mfi_lock *lock, uint64_t *first, uint64_t value,
                    uint64_t *second, uint64_t other_value) {
  mfi_assert(lock->filled == 0 && load_relaxed(&lock->count) == 0);
  lock->pair[0].where = mfi_ref_of(self, first);
  lock->pair[0].value = value;
  lock->pair[1].where = mfi_ref_of(self, second);
  lock->pair[1].value = other_value;
  MFI_STEP();
  store_release(&lock->count, 2u);
  MFI_STEP();
  store_release(first, value);
  MFI_STEP();
  store_release(second, other_value);
  MFI_STEP();
  store_release(&lock->count, 0u);
}

void mfi_lock_settle(mfi_self *self, uint32_t dead_slot) {
  mfi_slot *dead = mfi_slot_at(self, dead_slot);
  for (int i = 0; i < MFI_LOCKS_HELD; i++) {
    mfi_ref ref = load_relaxed(&dead->locks[i]);
    if (ref == 0)
      continue;
    mfi_lock *lock = mfi_at(self, ref);
    mfi_lock_take(self, lock);
    mfi_lock_give(self, lock);
    store_relaxed(&dead->locks[i], (mfi_ref)0);
  }
}
