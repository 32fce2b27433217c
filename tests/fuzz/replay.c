// Runs a fuzz target over its corpus, where libFuzzer does not drive it: part of every test run.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int replay(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL)
    return 0;
  fseek(file, 0, SEEK_END);
  size_t size = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = malloc(size > 0 ? size : 1); // no longer, so that ASan sees reads behind the end
  size = fread(bytes, 1, size, file);
  fclose(file);
  LLVMFuzzerTestOneInput(bytes, size);
  free(bytes);
  return 1;
}

int main(void) {
  DIR *folder = opendir(MFI_CORPUS);
  int inputs = 0;
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", MFI_CORPUS, entry->d_name);
    if (entry->d_name[0] != '.')
      inputs += replay(path);
  }
  if (folder != NULL)
    closedir(folder);
  printf("%s replays %d inputs of %s\n", inputs ? "ok" : "not ok", inputs, MFI_CORPUS);
  return inputs == 0;
}
