// One libFuzzer target of the server; BASALT_FUZZ_ENTRY is a function of server_entry.h.
#include "test/fuzz/server_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  basalt::fuzz::BASALT_FUZZ_ENTRY({reinterpret_cast<const char*>(data), size});
  return 0;
}
