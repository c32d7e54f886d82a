// One libFuzzer target; BASALT_FUZZ_ENTRY is a function of entry.h, engine_entry.h,
// devices_entry.h, imports_entry.h, topology_entry.h or usage_entry.h.
#include "test/fuzz/devices_entry.h"
#include "test/fuzz/engine_entry.h"
#include "test/fuzz/imports_entry.h"
#include "test/fuzz/topology_entry.h"
#include "test/fuzz/usage_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  basalt::fuzz::BASALT_FUZZ_ENTRY({reinterpret_cast<const char*>(data), size});
  return 0;
}
