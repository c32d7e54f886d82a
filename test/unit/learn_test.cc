// A cluster that nothing syncs: its nodes and pods come with the predicates of Volcano's extender.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "adapters/http/extender.h"
#include "adapters/service/uid.h"
#include "test/support/served.h"

namespace basalt::http {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::vector<service::ClusterConfig> Learning() {
  std::vector<service::ClusterConfig> out(1);
  out[0].id = "c";
  out[0].learn = true;
  return out;
}

std::string Uid(int n) { return test::PodUidText(static_cast<std::uint64_t>(n)); }

json Node(const std::string& name, int cards) {
  return {{"metadata",
           {{"name", name},
            {"labels", {{"nvidia.com/gpu.product", "NVIDIA-A100-SXM4-40GB"}}},
            {"annotations", {{"other.example/x", "y"}}}}},
          {"spec", json::object()},
          {"status",
           {{"capacity",
             {{"cpu", "64"}, {"memory", "512Gi"}, {"nvidia.com/gpu", std::to_string(cards)}}},
            {"allocatable",
             {{"cpu", "64"}, {"memory", "512Gi"}, {"nvidia.com/gpu", std::to_string(cards)}}},
            {"conditions", {{{"type", "Ready"}, {"status", "True"}}}}}}};
}

json Task(int uid, int cards, int status, const std::string& node = "") {
  const std::string count = std::to_string(cards);
  json pod = {
      {"metadata", {{"name", "p" + std::to_string(uid)}, {"namespace", "ns"}, {"uid", Uid(uid)}}},
      {"spec",
       {{"containers",
         {{{"name", "main"},
           {"resources",
            {{"limits", {{"nvidia.com/gpu", count}}},
             {"requests", {{"nvidia.com/gpu", count}}}}}}}}}},
      {"status", {{"phase", status == 32 ? "Running" : "Pending"}}}};
  if (!node.empty()) pod["spec"]["nodeName"] = node;
  return {{"UID", Uid(uid)},  {"Job", "ns/j"},       {"NodeName", node},
          {"Status", status}, {"Preemptable", true}, {"Pod", pod}};
}

json Predicate(const json& task, const json& node, const std::vector<json>& tasks) {
  json on = json::object();
  for (const json& one : tasks) on["ns/" + one["Pod"]["metadata"]["name"].get<std::string>()] = one;
  return {{"task", task},
          {"node", {{"Name", node["metadata"]["name"]}, {"Node", node}, {"Tasks", on}}}};
}

class LearnTest : public testing::Test {
 protected:
  json Say(const char* verb, const json& body) {
    const HttpAnswer answer = extender_.Volcano(verb, body.dump());
    EXPECT_EQ(answer.status, 200) << answer.body;
    return json::parse(answer.body, nullptr, false);
  }
  int CodeOf(const json& body) {
    const json answer = Say("predicate", body);
    return answer.value("code", -1);
  }
  std::size_t Held() {
    return served_.room().With(
        [](service::Service& service, SimTime) { return service.engine().allocation_count(); });
  }
  const Allocation* Find(int uid) {
    return served_.room().With([&](service::Service& service, SimTime) {
      return service.engine().Find(*service::ParseUid(Uid(uid)));
    });
  }
  std::string Metric(const std::string& name) {
    service::MetricsText text;
    served_.room().With([&](service::Service& service, SimTime) { service.WriteMetrics(&text); });
    const std::string all = text.Text();
    const std::size_t at = all.find("\nbasalt_" + name + "{");
    return at == all.npos ? "" : all.substr(at + 1, all.find('\n', at + 1) - at - 1);
  }
  test::Served served_{Learning()};
  Extender extender_{&served_.room(), {}};
};

TEST_F(LearnTest, ANodeIsKnownWithItsPodsFromTheFirstCallOn) {
  EXPECT_TRUE(served_.rooms().NotReady().empty());
  // Two of its four cards are taken by a pod that runs; three do not fit, two do.
  const json node = Node("n1", 4);
  const json running = Task(1, 2, 32, "n1");
  EXPECT_EQ(CodeOf(Predicate(Task(2, 3, 1), node, {running})), 2);
  EXPECT_EQ(CodeOf(Predicate(Task(3, 2, 1), node, {running})), 0);
  EXPECT_EQ(Held(), 1u);
  // A node by itself: fewer cards than are asked.
  EXPECT_EQ(CodeOf(Predicate(Task(3, 2, 1), Node("n2", 1), {})), 2);
  EXPECT_EQ(CodeOf(Predicate(Task(3, 2, 1), Node("n3", 2), {})), 0);
}

TEST_F(LearnTest, WhatIsAsItWasIsNotReadAgain) {
  const json node = Node("n1", 4);
  const json body = Predicate(Task(2, 1, 1), node, {Task(1, 2, 32, "n1")});
  ASSERT_EQ(CodeOf(body), 0);
  const std::string before = Metric("sync_deltas_total");
  ASSERT_FALSE(before.empty());
  for (int i = 0; i < 5; ++i) ASSERT_EQ(CodeOf(body), 0);
  EXPECT_EQ(Metric("sync_deltas_total"), before);
  json cordoned = node;
  cordoned["spec"]["unschedulable"] = true;
  EXPECT_EQ(CodeOf(Predicate(Task(2, 1, 1), cordoned, {Task(1, 2, 32, "n1")})), 2);
  EXPECT_NE(Metric("sync_deltas_total"), before);
}

TEST_F(LearnTest, PodsEndWhenTheirNodeIsSeenWithoutThem) {
  const json node = Node("n1", 2);
  EXPECT_EQ(CodeOf(Predicate(Task(9, 2, 1), node, {Task(1, 2, 32, "n1")})), 2);
  EXPECT_EQ(CodeOf(Predicate(Task(9, 2, 1), node, {Task(1, 2, 64, "n1")})), 2);  // it leaves
  EXPECT_EQ(Held(), 1u);
  EXPECT_EQ(CodeOf(Predicate(Task(9, 2, 1), node, {})), 0);
  EXPECT_EQ(Held(), 0u);
  EXPECT_EQ(CodeOf(Predicate(Task(9, 2, 1), node, {Task(1, 2, 128, "n1")})), 0);  // Succeeded
}

// Volcano writes the node into pods that it has only planned: for these the lease stands.
TEST_F(LearnTest, PlansOfTheSessionAreNotPods) {
  const json node = Node("n1", 2);
  ASSERT_EQ(CodeOf(Predicate(Task(1, 1, 1), node, {})), 0);
  ASSERT_EQ(Say("allocateFunc", {{"task", Task(1, 1, 2, "n1")}}).value("errorMessage", "?"), "");
  EXPECT_EQ(CodeOf(Predicate(Task(2, 1, 1), node, {Task(1, 1, 2, "n1"), Task(7, 1, 4, "n1")})), 0);
  EXPECT_EQ(Held(), 1u);
  ASSERT_NE(Find(1), nullptr);
  EXPECT_FALSE(Find(1)->confirmed);
  const std::uint64_t epoch = Find(1)->epoch;
  // Bound: the lease is confirmed, and no place is taken twice.
  EXPECT_EQ(CodeOf(Predicate(Task(2, 1, 1), node, {Task(1, 1, 16, "n1")})), 0);
  EXPECT_EQ(Held(), 1u);
  EXPECT_TRUE(Find(1)->confirmed);
  EXPECT_EQ(Find(1)->epoch, epoch);
}

TEST_F(LearnTest, WhatCannotBeReadIsSaidAndKubeSchedulerIsRefused) {
  json bad = Node("n1", 4);
  bad["metadata"]["annotations"]["hami.io/node-nvidia-register"] = "no register:";
  json answer = Say("predicate", Predicate(Task(2, 1, 1), bad, {}));
  EXPECT_EQ(answer.value("code", 0), 2);
  EXPECT_THAT(answer.value("status", ""), HasSubstr("register"));
  EXPECT_EQ(answer, Say("predicate", Predicate(Task(2, 1, 1), bad, {})));
  json other = Predicate(Task(2, 1, 1), Node("n1", 4), {});
  other["node"]["Name"] = "n2";
  EXPECT_THAT(Say("predicate", other).value("status", ""), HasSubstr("is called n1"));
  const HttpAnswer kube = extender_.Kube("filter", "{}");
  EXPECT_EQ(kube.status, 400);
  EXPECT_THAT(kube.body, HasSubstr("basalt-sync"));
}

TEST_F(LearnTest, VolcanosOwnBody) {
  const char* root = std::getenv("BASALT_SHARED");
  std::ifstream in((root != nullptr ? std::string(root) : BASALT_SOURCE_DIR "/../shared") +
                   "/data/kubernetes/vc-extender-preempt.predicate.json");
  if (!in) GTEST_SKIP() << "no shared data";
  const json body = json::parse(in);
  const std::string text = body.dump();
  std::size_t there = 0;
  for (const auto& [key, task] : body["node"]["Tasks"].items()) {
    there += (task["Status"].get<int>() & (16 | 32 | 64)) != 0 ? 1 : 0;
  }
  const HttpAnswer first = extender_.Volcano("predicate", text);
  EXPECT_EQ(first.status, 200) << first.body;
  EXPECT_THAT(first.body, testing::Not(HasSubstr("unknown to the engine")));
  EXPECT_EQ(Held(), there);
  const std::string before = Metric("sync_deltas_total");
  for (int i = 0; i < 20; ++i) extender_.Volcano("predicate", text);
  EXPECT_EQ(Metric("sync_deltas_total"), before);
}

}  // namespace
}  // namespace basalt::http
