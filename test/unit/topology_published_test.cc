// What a node tells of its machine in one line: read and written, with and without UUIDs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "topology/published.h"
#include "topology/synthetic.h"

namespace basalt::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kPair = "2xA100 link=0-1:nv12";

std::string Why(const std::string& text) {
  const auto read = ParsePublished(text);
  EXPECT_FALSE(read.has_value()) << text;
  return read ? "" : read.error().ToString();
}

TEST(Published, IsReadAsItWasWritten) {
  const std::string canonical = FormatGraph(*ParseGraph(kPair));
  for (const std::string& text : {canonical, canonical + " uuids=GPU-b,GPU-a"}) {
    const auto read = ParsePublished(text);
    ASSERT_TRUE(read.has_value()) << read.error().ToString();
    EXPECT_EQ(read->graph.cards(), 2);
    EXPECT_EQ(FormatPublished(*read).value(), text);
  }
  EXPECT_THAT(ParsePublished(canonical)->uuids, IsEmpty());
  EXPECT_THAT(ParsePublished(canonical + " uuids=GPU-b,GPU-a")->uuids,
              ElementsAre("GPU-b", "GPU-a"));
}

TEST(Published, WhatIsRefused) {
  const std::string pair = kPair;
  EXPECT_THAT(Why(pair + " uuids=GPU-a"), HasSubstr("are 1, but the machine has 2 cards"));
  EXPECT_THAT(Why(pair + " uuids=GPU-a,GPU-a"), HasSubstr("stands twice"));
  for (const std::string bad : {"", ",", "a,", "a,b c", "a,\n", "a,b;c", "a,<b>"}) {
    EXPECT_THAT(Why(pair + " uuids=" + bad), HasSubstr("uuids")) << bad;
  }
  EXPECT_THAT(Why(pair + " uuids=a," + std::string(129, 'x')), HasSubstr("1 to 128"));
  EXPECT_THAT(Why("nonsense"), HasSubstr("column"));
  EXPECT_THAT(Why(pair + " uuids=" + std::string(kMaxPublishedBytes, 'x')), HasSubstr("16 KiB"));
  EXPECT_FALSE(FormatPublished({*ParseGraph(kPair), {"a", "b'"}}).has_value());
}

}  // namespace
}  // namespace basalt::topology
