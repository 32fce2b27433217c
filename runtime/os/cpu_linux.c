// How many CPUs this program may use: see os.h. Floor 1. Locks nothing; reads a few files.
//
// The affinity mask, and the CPU quota of every control group from the program's own up to the root
// of its mount: the least of them, rounded up. Groups of version 2 say it in cpu.max ("max 100000",
// "150000 100000"), of version 1 in cpu.cfs_quota_us and cpu.cfs_period_us. A container may see
// only a part of the tree: the mount's root is then taken off the group's path.
#include "os/cpu.h"
#include "os/os.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 4096
#define LINE_SIZE 8192

// A control group's directory, and the mount point above which nothing is looked at.
typedef struct group {
  char path[PATH_SIZE];
  size_t mount_size; // path[0 .. mount_size) is the mount point
} group;

int mfi_os_cpu_affinity(void) {
  for (size_t cpus = 1024; cpus <= (size_t)1 << 20; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (set == NULL)
      break;
    size_t size = CPU_ALLOC_SIZE(cpus);
    int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0)
      return count;
  }
  return 1;
}

// ---- Quotas
// --------------------------------------------------------------------------------------

// How many of the two numbers the file begins with; 0: no such file, or "max".
static int read_numbers(const group *g, const char *name, long long *first, long long *second) {
  char path[PATH_SIZE + 32];
  snprintf(path, sizeof path, "%s/%s", g->path, name);
  FILE *file = fopen(path, "re");
  if (file == NULL)
    return 0;
  int n = fscanf(file, "%lld %lld", first, second);
  fclose(file);
  return n > 0 ? n : 0;
}

static int limit_here(const group *g, int limit) {
  long long quota, period, none;
  if (read_numbers(g, "cpu.max", &quota, &period) != 2 &&
      (read_numbers(g, "cpu.cfs_quota_us", &quota, &none) == 0 ||
       read_numbers(g, "cpu.cfs_period_us", &period, &none) == 0))
    return limit;
  if (quota <= 0 || period <= 0)
    return limit; // -1: no quota
  long long cpus = quota / period + (quota % period != 0);
  return cpus < limit ? (int)cpus : limit;
}

static int limit_upwards(group *g, int limit) {
  for (;;) {
    limit = limit_here(g, limit);
    char *slash = strrchr(g->path + g->mount_size, '/');
    if (slash == NULL)
      return limit;
    *slash = 0;
  }
}

// ---- Where the groups are
// ------------------------------------------------------------------------

static bool has_word(const char *list, const char *word) {
  size_t size = strlen(word);
  for (const char *at = list; (at = strstr(at, word)) != NULL; at += size)
    if ((at == list || at[-1] == ',') && strchr(",: \n", at[size]) != NULL)
      return true;
  return false;
}

static FILE *open_proc(const char *root, const char *name) {
  char path[PATH_SIZE];
  int n = snprintf(path, sizeof path, "%s/proc/self/%s", root, name);
  return n < (int)sizeof path ? fopen(path, "re") : NULL;
}

// The path of this process's group, of version 2 ("0::/path") or of version 1's cpu controller
// ("4:cpu,cpuacct:/path").
static bool find_path(const char *root, bool v2, char path[PATH_SIZE]) {
  char line[LINE_SIZE];
  bool found = false;
  FILE *file = open_proc(root, "cgroup");
  while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
    char *list = strchr(line, ':');
    char *at = list ? strchr(list + 1, ':') : NULL;
    if (at == NULL || !(v2 ? strncmp(line, "0::", 3) == 0 : has_word(list + 1, "cpu")))
      continue;
    at[strcspn(at, "\n")] = 0;
    found = strlen(at + 1) < PATH_SIZE;
    if (found)
      strcpy(path, at + 1);
  }
  if (file != NULL)
    fclose(file);
  return found;
}

// Does this line of mountinfo mount the groups that are looked for? Then the root and point of it.
static bool read_mount(char *line, bool v2, char **mount_root, char **point) {
  char *rest = strstr(line, " - "), *save;
  if (rest == NULL)
    return false;
  *rest = 0;
  rest += 3;
  if (v2 ? strncmp(rest, "cgroup2 ", 8) != 0
         : strncmp(rest, "cgroup ", 7) != 0 || !has_word(strrchr(rest, ' ') + 1, "cpu"))
    return false;
  char *field = strtok_r(line, " ", &save); // id, parent, device, root, point
  for (int i = 0; i < 3 && field != NULL; i++)
    field = strtok_r(NULL, " ", &save);
  *mount_root = field;
  *point = field ? strtok_r(NULL, " ", &save) : NULL;
  return *point != NULL;
}

// root + mount point + what the group's path has below the mount's root.
static bool set_group(group *g, const char *root, const char *point, const char *mount_root,
                      const char *path) {
  size_t size = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
  bool below = strncmp(path, mount_root, size) == 0 && (path[size] == '/' || path[size] == 0);
  const char *rest = below ? path + size : "";
  if (strcmp(rest, "/") == 0 || strstr(rest, "/..") != NULL)
    rest = "";
  int mount = snprintf(g->path, PATH_SIZE, "%s%s", root, point);
  if (mount < 0 || (size_t)mount + strlen(rest) >= PATH_SIZE)
    return false;
  g->mount_size = (size_t)mount;
  strcpy(g->path + mount, rest);
  return true;
}

static int limit_of(const char *root, bool v2, int limit) {
  char path[PATH_SIZE], line[LINE_SIZE], *mount_root, *point;
  group g;
  if (!find_path(root, v2, path))
    return limit;
  FILE *file = open_proc(root, "mountinfo");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (read_mount(line, v2, &mount_root, &point) && set_group(&g, root, point, mount_root, path))
      limit = limit_upwards(&g, limit);
  if (file != NULL)
    fclose(file);
  return limit;
}

int mfi_os_cpu_count_at(const char *root, int affinity) {
  int limit = limit_of(root, true, affinity);
  limit = limit_of(root, false, limit);
  return limit < 1 ? 1 : limit;
}

int mfi_os_cpu_count(void) { return mfi_os_cpu_count_at("", mfi_os_cpu_affinity()); }
