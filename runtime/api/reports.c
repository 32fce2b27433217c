// Reports to the host. Floor 6; see reports.h.
#include "api/reports.h"

void mfi_report_output(void *self, int stream, const char *data, size_t size) {
  (void)self;
  (void)stream;
  (void)data;
  (void)size;
}
