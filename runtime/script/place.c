// Where the script is. Floor 5; see place.h. Called for each lock that is acquired, so it asks Lua
// no more than it must.
#include "script/place.h"

#include "base/assert.h"
#include "script/stop.h"

#include <lua.h>

#include <stdlib.h>
#include <string.h>

static bool is_embedded(const char *source) {
  static const char name[] = "=moonfleet";
  if (strncmp(source, name, sizeof name - 1) != 0)
    return false;
  char behind = source[sizeof name - 1];
  return behind == '\0' || behind == '.';
}

// In $MOONFLEET_LUA_DIR/moonfleet, where it lies while it is developed; an absolute path.
static bool is_in_folder(const char *path) {
  static const char name[] = "/moonfleet";
  if (*path != '/')
    return false;
  const char *slash = strrchr(path, '/');
  size_t before = (size_t)(slash - path);
  if (before < sizeof name - 1 || memcmp(slash - (sizeof name - 1), name, sizeof name - 1) != 0)
    return false;
  const char *folder = getenv("MOONFLEET_LUA_DIR");
  size_t size = before - (sizeof name - 1);
  return folder != NULL && strlen(folder) == size && memcmp(path, folder, size) == 0;
}

// Our own Lua half.
static bool is_own(const char *source) {
  return *source == '@' ? is_in_folder(source + 1) : *source == '=' && is_embedded(source);
}

static bool look_at(lua_State *L, lua_Debug *ar, mfi_place *out) {
  memset(ar->short_src, 0, sizeof ar->short_src);
  lua_getinfo(L, "Sl", ar);
  if (ar->currentline <= 0 || is_own(ar->source))
    return false;
  _Static_assert(sizeof ar->short_src <= sizeof out->source, "a source fits a place");
  memcpy(out->source, ar->short_src, sizeof ar->short_src);
  out->line = (uint32_t)ar->currentline;
  return true;
}

void mfi_place_here(mfi_self *self, mfi_place *out) {
  mfi_stop *s = mfi_stop_current();
  lua_Debug ar;
  MFI_UNUSED(self);
  if (s == NULL || s->closed)
    return;
  for (int level = 1; lua_getstack(s->running, level, &ar); level++)
    if (look_at(s->running, &ar, out))
      return;
}
