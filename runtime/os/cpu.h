// The parts of mfi_os_cpu_count (os.h) that tests look at. Floor 1.
#ifndef MFI_OS_CPU_H
#define MFI_OS_CPU_H

// CPUs of the affinity mask.
int mfi_os_cpu_affinity(void);

// `affinity`, lowered to the quotas of this process's control groups, whose files are looked up
// below `root` ("" is the system itself): at least 1.
int mfi_os_cpu_count_at(const char *root, int affinity);

#endif
