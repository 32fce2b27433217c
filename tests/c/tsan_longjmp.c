// Lua raises by _longjmp, or what glibc's headers make of it, which TSan does not know: what it
// remembers of the stack would grow with each error that leaves one of our functions. Linked with
// --wrap where TSan is.
#include <setjmp.h>

_Noreturn void __wrap__longjmp(jmp_buf where, int value);
_Noreturn void __wrap___longjmp_chk(jmp_buf where, int value);

_Noreturn void __wrap__longjmp(jmp_buf where, int value) { longjmp(where, value); }
_Noreturn void __wrap___longjmp_chk(jmp_buf where, int value) { longjmp(where, value); }
