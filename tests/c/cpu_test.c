// mfi_os_cpu_count: affinity and the quotas of control groups, read from made-up trees.
#include "check.h"
#include "os/cpu.h"
#include "os/os.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void new_root(void) {
  strcpy(root, "/tmp/mf-cpu-XXXXXX");
  if (mkdtemp(root) == NULL)
    exit(1);
}

static void drop_root(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", root);
  if (system(command) != 0)
    exit(1);
}

// Writes a file below the root, with the folders on the way.
static void put(const char *path, const char *text) {
  char full[512];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
    *at = 0;
    mkdir(full, 0700);
    *at = '/';
  }
  FILE *file = fopen(full, "w");
  fputs(text, file);
  fclose(file);
}

static const char mount_v2[] =
    "24 1 0:21 / / rw - ext4 /dev/sda rw\n"
    "31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

static void takes_the_affinity_where_there_is_no_quota(void) {
  new_root();
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 8);
  put("/proc/self/mountinfo", mount_v2);
  put("/proc/self/cgroup", "0::/a\n");
  put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 8);
  drop_root();
}

static void rounds_a_quota_up(void) {
  new_root();
  put("/proc/self/mountinfo", mount_v2);
  put("/proc/self/cgroup", "0::/a\n");
  put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 2);
  CHECK_EQ(mfi_os_cpu_count_at(root, 1), 1);
  put("/sys/fs/cgroup/a/cpu.max", "1000 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 1);
  put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 3);
  drop_root();
}

static void finds_the_least_quota_of_nested_groups(void) {
  new_root();
  put("/proc/self/mountinfo", mount_v2);
  put("/proc/self/cgroup", "0::/a/b/c\n");
  put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  put("/sys/fs/cgroup/a/b/cpu.max", "500000 100000\n");
  put("/sys/fs/cgroup/a/cpu.max", "200000 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 2);
  put("/sys/fs/cgroup/cpu.max", "100000 100000\n"); // a container sees its own at the root
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 1);
  drop_root();
}

static void understands_a_container_that_sees_a_part_of_the_tree(void) {
  new_root();
  put("/proc/self/mountinfo", "31 24 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("/proc/self/cgroup", "0::/docker/x/inner\n");
  put("/sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 2);
  put("/proc/self/cgroup", "0::/../elsewhere\n");
  put("/sys/fs/cgroup/cpu.max", "300000 100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 3);
  drop_root();
}

static void reads_groups_of_version_1(void) {
  new_root();
  put("/proc/self/mountinfo",
      "40 24 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
      "41 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
  put("/proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/a/b\n1:name=systemd:/x\n");
  put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 8);
  put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
  put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "50000\n");
  CHECK_EQ(mfi_os_cpu_count_at(root, 8), 5);
  drop_root();
}

static void counts_this_machine(void) {
  CHECK(mfi_os_cpu_affinity() >= 1);
  CHECK(mfi_os_cpu_count() >= 1);
  CHECK(mfi_os_cpu_count() <= mfi_os_cpu_affinity());
}

int main(void) {
  RUN(takes_the_affinity_where_there_is_no_quota);
  RUN(rounds_a_quota_up);
  RUN(finds_the_least_quota_of_nested_groups);
  RUN(understands_a_container_that_sees_a_part_of_the_tree);
  RUN(reads_groups_of_version_1);
  RUN(counts_this_machine);
  return check_done();
}
