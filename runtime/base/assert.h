// Checks of our own reasoning; user mistakes are answered with a status instead. Floor 0.
#ifndef MFI_BASE_ASSERT_H
#define MFI_BASE_ASSERT_H

#include <assert.h>

// An invariant: checked in builds with MFI_ASSERT, else not evaluated.
#ifdef MFI_ASSERT
#define mfi_assert(e) assert(e)
#else
#define mfi_assert(e) ((void)sizeof(!(e)))
#endif

#define MFI_UNUSED(x) ((void)(x))

#endif
