#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "traces/orders.h"

namespace basalt::trace {
namespace {

using testing::ElementsAre;

std::string ErrorOf(std::string_view text) {
  const auto order = ParseArrivalOrder("o", text, 3, 4);
  return order ? "fine" : order.error().ToString();
}

TEST(ArrivalOrder, Good) {
  for (const char* text :
       {"# x\n2 0 1\n3 3 0\n", "# x\r\n2 0 1\r\n3 3 0\r\n\r\n", "#\n2 0 1\n3 3 0"}) {
    const auto order = ParseArrivalOrder("o", text, 3, 4);
    ASSERT_TRUE(order) << order.error().ToString();
    EXPECT_THAT(order->node_rank, ElementsAre(2, 0, 1));
    EXPECT_THAT(order->pods, ElementsAre(3, 3, 0));
  }
}

TEST(ArrivalOrder, Faults) {
  EXPECT_EQ(
      ErrorOf("1 2\n"),
      "o:1:1: the first line must be a comment that starts with #; is this an arrival order?");
  EXPECT_EQ(ErrorOf("#\n0 1 3\n0\n"),
            "o:2:5: rank 3 is out of range; there are 3, counted from 0. Does the order belong to "
            "this list?");
  EXPECT_EQ(ErrorOf("#\n0 1 0\n0\n"),
            "o:2:5: rank 0 is already that of node row 0; ranks must be unique");
  EXPECT_EQ(ErrorOf("#\n0 12\n0\n"),
            "o:2:3: rank 12 is out of range; there are 3, counted from 0. Does the order belong to "
            "this list?");
  EXPECT_EQ(ErrorOf("#\n0  1\n0\n"),
            "o:2:3: not a whole number; write numbers with one space between them");
  EXPECT_EQ(ErrorOf("#\n0 1 \n0\n"), "o:2:4: a space at the end of the line; remove it");
  EXPECT_EQ(ErrorOf("#\n0\n0\n"),
            "o:2:1: fewer ranks than the node list's 3 rows; does the order belong to this list?");
  EXPECT_EQ(ErrorOf("#\n00 1\n0\n"),
            "o:2:1: 2 ranks, but the node list has 3 rows; does the order belong to this list?");
  EXPECT_EQ(ErrorOf("#\n0 1 2 0\n0\n"),
            "o:2:7: rank 0 is already that of node row 0; ranks must be unique");
  EXPECT_EQ(ErrorOf("#\n0 1 2\n1 -1\n"),
            "o:3:3: not a whole number; write numbers with one space between them");
  EXPECT_EQ(
      ErrorOf("#\n0 1 2\n1 4\n"),
      "o:3:3: pod row 4 is out of range; there are 4, counted from 0. Does the order belong to "
      "this list?");
  EXPECT_EQ(
      ErrorOf("#\n0 1 2\n99999999999999999999999999 1\n"),
      "o:3:1: pod row 9999999999 is out of range; there are 4, counted from 0. Does the order "
      "belong to this list?");
  EXPECT_EQ(ErrorOf("#\n0 1 2\n"), "o:3:1: no arrivals; line 3 must list rows of the pod list");
  EXPECT_EQ(ErrorOf("#\n0 1 2\n1\n\n2\n"),
            "o:5:1: text after the arrival order; the file has three lines");
  EXPECT_EQ(ErrorOf(std::string_view("#\n0 1 2\n1\0\n", 11)),
            "o:3:2: a NUL byte; the file is damaged or not text");
}

TEST(ArrivalOrder, HugeNodeCountNeedsNoMemory) {
  EXPECT_FALSE(ParseArrivalOrder("o", "#\n0\n0\n", std::size_t{1} << 60, 4));
}

TEST(ArrivalOrder, MissingFile) {
  EXPECT_EQ(ReadArrivalOrder("/nonexistent/o.txt.gz", 1, 1).error().ToString(),
            "/nonexistent/o.txt.gz: there is no such file");
}

}  // namespace
}  // namespace basalt::trace
