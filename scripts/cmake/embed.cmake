# Makes OUT, a C file with the text of every Lua file named in LIST (see script/embed.h).
# Run by the build: cmake -DLIST=embedded.list -DOUT=embedded.c -P embed.cmake

file(READ ${LIST} files)
set(arrays "")
set(rows "")
set(number 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME_WE)
  if(name STREQUAL "init")
    set(module "moonfleet")
  else()
    set(module "moonfleet.${name}")
  endif()
  file(SIZE ${file} size)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(................................)" "\\1\n    " hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," text "${hex}")
  string(APPEND arrays "static const unsigned char text_${number}[] = {\n    ${text}0};\n\n")
  string(APPEND rows "    {\"${module}\", (const char *)text_${number}, ${size}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUT} "// Made by scripts/cmake/embed.cmake.\n#include \"script/embed.h\"\n\n${arrays}"
  "const mfi_embedded mfi_embedded_modules[] = {\n${rows}    {NULL, NULL, 0},\n};\n")
