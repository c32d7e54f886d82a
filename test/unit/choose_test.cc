// Requests that name several clusters: asked in each, taken in one, and never in two.
#include "adapters/rpc/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "test/support/served.h"

namespace basalt {
namespace {

using rpc::CallCode;
using test::Served;
using test::WholeCards;
using testing::HasSubstr;

namespace pb = placement::v1;

std::vector<service::ClusterConfig> Clusters() {
  std::vector<service::ClusterConfig> out(3);
  out[0].id = "small";
  out[1].id = "large";
  out[2].id = "dark";  // never synced
  return out;
}

pb::ReserveRequest Ask(std::uint64_t pod, int cards, const std::vector<std::string>& clusters,
                       const std::string& id = "") {
  pb::ReserveRequest request;
  *request.mutable_pod() = WholeCards(pod, cards);
  for (const std::string& name : clusters) request.add_clusters(name);
  request.mutable_header()->set_request_id(id);
  request.mutable_header()->set_scheduler("s/1");
  return request;
}

const service::Caller kLocal{.identity = "test", .local = true};

rpc::Reply<pb::ReserveResponse> Reserve(Served& served, const pb::ReserveRequest& request,
                                        const service::Caller& caller = kLocal) {
  return rpc::ReserveAmong(&served.rooms(), caller, request, rpc::kNoDeadline);
}

std::size_t Held(Served& served, std::size_t at) {
  return served.room(at).With(
      [](service::Service& service, SimTime) { return service.engine().allocation_count(); });
}

TEST(Choose, WhereItFitsAndMostIsFree) {
  Served served(Clusters());
  served.Sync(1, 2, "A100", 0);
  served.Sync(2, 4, "A100", 1);
  pb::ProposeRequest propose;
  *propose.mutable_pod() = WholeCards(1, 2);
  for (const char* name : {"small", "dark", "large"}) propose.add_clusters(name);
  const auto proposed = rpc::ProposeAmong(&served.rooms(), kLocal, propose, rpc::kNoDeadline);
  ASSERT_TRUE(proposed.ok()) << proposed.message;
  EXPECT_EQ(proposed.body.pod().kind(), pb::OUTCOME_KIND_PLACED);
  EXPECT_EQ(proposed.body.pod().cluster(), "large");
  EXPECT_EQ(Held(served, 0) + Held(served, 1), 0u);
  const auto reserved = Reserve(served, Ask(1, 2, {"small", "dark", "large"}));
  ASSERT_TRUE(reserved.body.has_lease());
  EXPECT_EQ(reserved.body.lease().cluster(), "large");
  EXPECT_EQ(reserved.body.pod().cluster(), "large");
  // 4 cards are left in the other node of "large"; 3 fit nowhere else.
  EXPECT_EQ(Reserve(served, Ask(2, 4, {"small", "large"})).body.lease().cluster(), "large");
  // Two are free in each: the first in the list.
  EXPECT_EQ(Reserve(served, Ask(3, 2, {"large", "small"})).body.lease().cluster(), "large");
  EXPECT_EQ(Reserve(served, Ask(4, 1, {"large", "small"})).body.lease().cluster(), "small");
  // One is left in one of them, and a cluster that does not know yet may still have two.
  const auto waits = Reserve(served, Ask(5, 2, {"small", "dark"}));
  EXPECT_EQ(waits.body.pod().kind(), pb::OUTCOME_KIND_WAIT);
  EXPECT_FALSE(waits.body.has_lease());
  EXPECT_EQ(Reserve(served, Ask(5, 8, {"small"})).body.pod().kind(), pb::OUTCOME_KIND_INFEASIBLE);
  EXPECT_EQ(Reserve(served, Ask(5, 8, {"small", "dark"})).body.pod().kind(),
            pb::OUTCOME_KIND_NOT_READY);
}

TEST(Choose, SaidAgainItIsTheSameLeaseAndALateCopyTakesNothing) {
  Served served(Clusters());
  served.Sync(1, 2, "A100", 0);
  served.Sync(1, 4, "A100", 1);
  const auto first = Reserve(served, Ask(1, 1, {"small", "large"}, "r1"));
  ASSERT_EQ(first.body.lease().cluster(), "large");
  // Meanwhile "small" has more room: it stays where it is.
  Reserve(served, Ask(2, 3, {"large"}));
  const auto again = Reserve(served, Ask(1, 1, {"small", "large"}, "r2"));
  EXPECT_EQ(again.body.lease().cluster(), "large");
  EXPECT_EQ(again.body.lease().epoch(), first.body.lease().epoch());
  served.room(1).Run("release", rpc::kNoDeadline, true,
                     [&](service::Service& service, SimTime now) {
                       pb::ReleaseRequest release;
                       *release.mutable_lease() = first.body.lease();
                       return service.Release(kLocal, release, now);
                     });
  const auto late = Reserve(served, Ask(1, 1, {"small", "large"}, "r1"));
  EXPECT_FALSE(late.body.has_lease());
  EXPECT_THAT(late.body.refused(), HasSubstr("answered before"));
  EXPECT_EQ(Held(served, 0), 0u);
  EXPECT_EQ(Reserve(served, Ask(1, 1, {"small", "large"}, "r3")).body.lease().cluster(), "small");
}

TEST(Choose, CopiesAtTheSameTimeTakeOnce) {
  Served served(Clusters());
  served.Sync(8, 8, "A100", 0);
  served.Sync(8, 8, "A100", 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&served] {
      for (std::uint64_t pod = 1; pod <= 32; ++pod) {
        Reserve(served, Ask(pod, 1, {"small", "large"}));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Held(served, 0) + Held(served, 1), 32u);
}

TEST(Choose, GangsAreWholeInOneCluster) {
  Served served(Clusters());
  served.Sync(1, 4, "A100", 0);
  served.Sync(3, 1, "A100", 1);
  pb::ReserveRequest request;
  pb::GangRequest& gang = *request.mutable_gang();
  gang.mutable_gang()->set_uid(test::PodUidText(100));
  pb::GangTask& task = *gang.add_tasks();
  *task.mutable_ask() = WholeCards(0, 1).ask();
  task.set_min(4);
  for (std::uint64_t m = 1; m <= 4; ++m) task.add_members()->set_uid(test::PodUidText(100 + m));
  request.add_clusters("large");
  request.add_clusters("small");
  const auto reply = Reserve(served, request);
  ASSERT_TRUE(reply.body.has_lease()) << reply.message;
  EXPECT_EQ(reply.body.gang().cluster(), "small");
  EXPECT_EQ(Held(served, 0), 4u);
  EXPECT_EQ(Held(served, 1), 0u);
}

TEST(Choose, RightsAreAskedInEachAndBadNamesRefused) {
  Served served(Clusters(), 256, {{"cert:v", service::Role::kViewer, {}, {}, {}}});
  served.Sync(1, 2, "A100", 0);
  EXPECT_EQ(Reserve(served, Ask(1, 1, {"small"}), {.identity = "cert:v"}).code, CallCode::kDenied);
  EXPECT_EQ(Held(served, 0), 0u);
  EXPECT_THAT(Reserve(served, Ask(1, 1, {"smal"})).message, HasSubstr("small"));
  pb::ReserveRequest both = Ask(1, 1, {"small"});
  both.mutable_header()->set_cluster("small");
  EXPECT_EQ(Reserve(served, both).code, CallCode::kInvalid);
  pb::ReserveRequest placed = Ask(1, 1, {"small"});
  placed.mutable_placement()->set_node("gpu-0");
  EXPECT_EQ(Reserve(served, placed).code, CallCode::kInvalid);
}

}  // namespace
}  // namespace basalt
