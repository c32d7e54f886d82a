#include "scheduler-core/workload/request.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "scheduler-core/cluster/inventory.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;

std::string Refusal(const std::function<void(RequestSpec&)>& change) {
  RequestSpec spec = Ask(1000, 1, 500);
  change(spec);
  const Status ok = ValidateRequest(spec, "pod p");
  return ok ? "" : ok.error().ToString();
}

TEST(Request, RefusesWhatNoClusterCouldMean) {
  EXPECT_EQ(Refusal([](RequestSpec&) {}), "");
  EXPECT_EQ(Refusal([](RequestSpec& s) { s.gpu_milli = 1001; }),
            "pod p: gpu_milli 1001 is outside 0..1000 (1000 is one card)");
  EXPECT_EQ(Refusal([](RequestSpec& s) { s.gpus = 65; }),
            "pod p: 65 cards asked; a pod may ask 0..64");
  EXPECT_EQ(Refusal([](RequestSpec& s) { s.gpus = 0; }),
            "pod p: asks for a share of cards but for 0 cards");
  EXPECT_EQ(Refusal([](RequestSpec& s) { s.gpu_milli = 0; }),
            "pod p: asks for 1 cards but for no compute and no memory on them; gpu_milli 1000 is a "
            "whole card");
  EXPECT_NE(Refusal([](RequestSpec& s) { s.cpu_milli = -1; }), "");
  EXPECT_NE(Refusal([](RequestSpec& s) { s.memory_mib = std::int64_t{1} << 40; }), "");
  EXPECT_NE(Refusal([](RequestSpec& s) { s.gpu_memory_mib = -3; }), "");
  EXPECT_NE(Refusal([](RequestSpec& s) { s.gpu_memory_percent = 101; }), "");
}

TEST(Request, MemoryAloneIsAnAsk) {
  EXPECT_EQ(Refusal([](RequestSpec& s) {
              s.gpu_milli = 0;
              s.gpu_memory_percent = 30;
            }),
            "");
}

TEST(Request, DescribeReadsLikeARequest) {
  RequestSpec spec = Ask(12'000, 2, 1000);
  spec.memory_mib = 48 * 1024;
  spec.models = {"T4", "A10"};
  EXPECT_EQ(Describe(spec), "2 x 1000m T4|A10, 12 CPU, 48 GiB");
  EXPECT_EQ(Describe(Ask(1500)), "1.5 CPU");
  RequestSpec memory = Ask(0, 1, 0);
  memory.gpu_memory_percent = 50;
  memory.node_selector = {{"zone", "a"}};
  EXPECT_EQ(Describe(memory), "1 x 0m 50% memory, 0 CPU, zone=a");
}

TEST(Node, RefusesWhatNoMachineIs) {
  NodeSpec node = support::Node("n", 1000, 2);
  EXPECT_TRUE(ValidateNode(node, "node n").has_value());
  node.cards[1].compute_milli = 2001;
  EXPECT_EQ(ValidateNode(node, "node n").error().ToString(),
            "node n: card 1: compute 2001 is outside 0..2000 milli");
  node = support::Node("n", 1000, 65);
  EXPECT_EQ(ValidateNode(node, "node n").error().ToString(),
            "node n: 65 cards on one node; at most 64");
  EXPECT_FALSE(ValidateNode(support::Node("", 1000, 0), "node").has_value());
  EXPECT_FALSE(ValidateNode(support::Node("n", -1, 0), "node").has_value());
}

}  // namespace
}  // namespace basalt
