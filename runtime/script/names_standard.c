// The names that Lua 5.4 itself defines: what is not here was added by a program.
//
// Floor 5 (script). Locks nothing, sleeps nowhere. From the index of the Lua 5.4 reference manual,
// and, at the end of `string` and `math`, what builds with LUA_COMPAT_5_3 have.
#include "script/names.h"

#include <string.h>

typedef struct library {
  const char *name;   // NULL: the globals
  const char *fields; // each between two spaces
} library;

static const library libraries[] = {
    {NULL, " _G _VERSION assert collectgarbage dofile error getmetatable ipairs load loadfile next"
           " pairs pcall print rawequal rawget rawlen rawset require select setmetatable tonumber"
           " tostring type warn xpcall coroutine debug io math os package string table utf8 "},
    {"coroutine", " close create isyieldable resume running status wrap yield "},
    {"debug", " debug gethook getinfo getlocal getmetatable getregistry getupvalue getuservalue"
              " sethook setlocal setmetatable setupvalue setuservalue traceback upvalueid"
              " upvaluejoin setcstacklimit "},
    {"io", " close flush input lines open output popen read stderr stdin stdout tmpfile type"
           " write "},
    {"math",
     " abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger"
     " modf pi rad random randomseed sin sqrt tan tointeger type ult cosh sinh tanh pow"
     " frexp ldexp log10 atan2 "},
    {"os", " clock date difftime execute exit getenv remove rename setlocale time tmpname "},
    {"string", " byte char dump find format gmatch gsub len lower match pack packsize rep reverse"
               " sub unpack upper "},
    {"table", " concat insert move pack remove sort unpack "},
    {"utf8", " char charpattern codepoint codes len offset "},
    {"package", " config cpath loaded loadlib path preload searchers searchpath "},
};

static const char *const extended[] = {"coroutine", "debug",  "io",    "math",
                                       "os",        "string", "table", "utf8"};

const char *const *mfi_names_libraries(size_t *n) {
  *n = sizeof extended / sizeof *extended;
  return extended;
}

static int is_word_of(const char *text, const char *word) {
  size_t size = strlen(word);
  if (size == 0 || strchr(word, ' ') != NULL)
    return 0;
  for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
    if (p[-1] == ' ' && p[size] == ' ')
      return 1; // text begins and ends with a space
  return 0;
}

int mfi_names_is_library(const char *name) {
  for (size_t i = 1; i < sizeof libraries / sizeof *libraries; i++)
    if (strcmp(libraries[i].name, name) == 0)
      return 1;
  return strcmp(name, "_G") == 0;
}

int mfi_names_is_standard(const char *name_of_library, const char *name) {
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    const char *l = libraries[i].name;
    if (l == name_of_library ||
        (l != NULL && name_of_library != NULL && !strcmp(l, name_of_library)))
      return is_word_of(libraries[i].fields, name);
  }
  return 0;
}
