// Replays the committed corpus of the server's fuzzers.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "test/fuzz/replay.h"
#include "test/fuzz/server_entry.h"

namespace basalt::fuzz {
namespace {

INSTANTIATE_TEST_SUITE_P(Server, FuzzCorpus,
                         testing::Values(std::pair{"server_calls", &ServerCalls},
                                         std::pair{"extender_body", &ExtenderBody},
                                         std::pair{"store_files", &StoreFiles}),
                         [](const auto& p) { return std::string(p.param.first); });

}  // namespace
}  // namespace basalt::fuzz
