// Where the script is that runs on this thread. Floor 5. Locks nothing, sleeps nowhere.
#ifndef MFI_SCRIPT_PLACE_H
#define MFI_SCRIPT_PLACE_H

#include "mem/region.h"

// The nearest line of Lua code that is not ours; mfi_self.where. line 0: there is none. Stands in
// functions that Lua has called, and never raises.
void mfi_place_here(mfi_self *self, mfi_place *out);

#endif
