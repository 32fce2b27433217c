// The embedded Lua half: every module has a name of ours and a text that is whole.
#include "check.h"
#include "script/embed.h"

#include <string.h>

static void names_every_module(void) {
  for (const mfi_embedded *m = mfi_embedded_modules; m->name; m++)
    CHECK(strncmp(m->name, "moonfleet", 9) == 0);
}

static void ends_every_text_with_a_nul_behind_its_size(void) {
  for (const mfi_embedded *m = mfi_embedded_modules; m->name; m++)
    CHECK(strlen(m->text) == m->size);
}

int main(void) {
  RUN(names_every_module);
  RUN(ends_every_text_with_a_nul_behind_its_size);
  return check_done();
}
