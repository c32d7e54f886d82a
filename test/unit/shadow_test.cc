// Looking on beside a scheduler that spreads: numbers that one can work out by hand, nothing that
// is held or told to anybody, and a recording that a report, a replay and the simulator can read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapters/service/metrics.h"
#include "sim/shadow_report.h"
#include "sim/simulator.h"
#include "sim/workload.h"
#include "test/support/recorded_life.h"
#include "traces/canonical.h"

namespace basalt {
namespace {

namespace pb = placement::v1;

using support::GangOf;
using support::GoneDelta;
using support::Life;
using support::NodeDelta;
using support::PodDelta;
using support::PodOf;
using support::Read;
using support::ReadFolder;
using support::TempDir;
using testing::HasSubstr;

constexpr std::int64_t kPlenty = std::int64_t{1} << 40;

// Fragments are measured against whole cards: half a card that is left is a fragment of 500.
const service::Environment& WholeCards() {
  static const service::Environment environment = [] {
    service::Environment e = support::TestEnvironment();
    devices::Sku whole;
    whole.name = "whole";
    whole.request = support::Ask(1000, 1, 1000);
    e.skus.push_back(whole);
    return e;
  }();
  return environment;
}

service::ClusterConfig Shadow() {
  service::ClusterConfig config = support::TestCluster();
  config.policy = "best-fit";
  config.target_skus = {"whole"};
  config.shadow = true;
  return config;
}

pb::PodRequest Half(std::uint64_t uid) { return PodOf(uid, 1000, 1, 500); }
pb::PodRequest Whole(std::uint64_t uid, const std::string& job = "") {
  pb::PodRequest pod = PodOf(uid, 1000, 1, 1000);
  pod.set_job(job);
  return pod;
}
pb::Delta Tell(const pb::PodRequest& pod, const std::string& node) {
  pb::Delta delta = PodDelta(pod, node);
  delta.mutable_pod()->set_job(pod.job());
  return delta;
}

std::vector<pb::Delta> FourNodes() {
  return {NodeDelta("n0", 16'000, 1), NodeDelta("n1", 16'000, 1), NodeDelta("n2", 16'000, 1),
          NodeDelta("n3", 16'000, 1)};
}

// Four halves, one a node; each is seen waiting for 5 s before.
void Spread(Life* life) {
  for (std::uint64_t p = 1; p <= 4; ++p) {
    life->Wait(10);
    life->Tell({Tell(Half(p), "")});
    life->Wait(5);
    life->Tell({Tell(Half(p), "n" + std::to_string(p - 1))});
  }
}

std::string MetricsOf(Life& life) {
  service::MetricsText text;
  life.service->WriteMetrics(&text);
  return text.Text();
}

// The first half must begin a card: 500 of fragment in either choice. Each of the others would have
// filled a half (its 500 of fragment is gone: -500) and began an idle card instead (+500).
void ExpectSpreadTotals(const ShadowBook& book) {
  const ShadowBook::Totals& t = book.totals();
  EXPECT_EQ(t.bound, 4);
  EXPECT_EQ(t.same_node, 1);
  EXPECT_EQ(t.same_cards, 1);
  EXPECT_EQ(t.not_ours, 0);
  EXPECT_EQ(t.overbooked, 0);
  EXPECT_EQ(t.worse, 3);
  EXPECT_EQ(t.better, 0);
  EXPECT_EQ(t.stranded_milli, 3000);
  EXPECT_EQ(t.by_cause_milli[static_cast<std::size_t>(StrandCause::kNoCardFits)], 3000);
  EXPECT_EQ(t.idle_cards_more, 3);
  ASSERT_EQ(book.by_shape().size(), 1U);
  EXPECT_EQ(book.by_shape().begin()->first, "1 x 500m, 1 CPU");
  EXPECT_EQ(book.by_shape().begin()->second.stranded_milli, 3000);
  ASSERT_EQ(book.worst().size(), 3U);
  const ShadowVerdict& worst = book.worst().front();
  EXPECT_EQ(worst.live.node, "n1");
  EXPECT_EQ(worst.ours.node, "n0");
  EXPECT_GT(worst.ours.score, worst.live.score);
  EXPECT_EQ(worst.live.added(), 500);
  EXPECT_EQ(worst.ours.added(), -500);
  EXPECT_EQ(worst.waited_us, 5'000'000);
}

TEST(Shadow, ASpreadingSchedulerStrandsWhatPackingWouldNot) {
  TempDir folder;
  Life life(folder.path(), Shadow(), kPlenty, WholeCards());
  life.List(FourNodes());
  Spread(&life);
  ExpectSpreadTotals(life.service->shadow());
  std::string metrics = MetricsOf(life);
  EXPECT_THAT(metrics, HasSubstr("basalt_shadow_bound_total{cluster=\"c1\"} 4\n"));
  EXPECT_THAT(metrics,
              HasSubstr("basalt_shadow_stranded_milli{cluster=\"c1\",cause=\"no_card_fits\"} "
                        "3000\n"));

  // Two whole cards of one job wait now, though packed there would be two.
  life.Tell({Tell(Whole(11, "train"), ""), Tell(Whole(12, "train"), "")});
  life.Wait(20);
  const auto waiting = [&] { return MetricsOf(life); };
  EXPECT_THAT(waiting(), HasSubstr("basalt_shadow_waiting_pods{cluster=\"c1\"} 2\n"));
  EXPECT_THAT(waiting(), HasSubstr("basalt_shadow_waiting_pods_that_fit{cluster=\"c1\"} 0\n"));
  life.Tell({GoneDelta(1)});  // one card is free: each fits, both together do not
  EXPECT_THAT(waiting(), HasSubstr("basalt_shadow_waiting_pods_that_fit{cluster=\"c1\"} 2\n"));
  EXPECT_THAT(waiting(), HasSubstr("basalt_shadow_waiting_gangs{cluster=\"c1\"} 1\n"));
  EXPECT_THAT(waiting(), HasSubstr("basalt_shadow_waiting_gangs_that_fit{cluster=\"c1\"} 0\n"));
  life.Tell({GoneDelta(2)});
  EXPECT_THAT(waiting(), HasSubstr("basalt_shadow_waiting_gangs_that_fit{cluster=\"c1\"} 1\n"));
  life.Stop();

  const Read read = ReadFolder(life.cluster());
  const auto report = sim::ReportShadow(read.source, support::Builtins());
  ASSERT_TRUE(report.has_value()) << report.error().ToString();
  EXPECT_EQ(report->policy, "best-fit");
  ExpectSpreadTotals(report->book);
  EXPECT_EQ(report->there_before, 0);
  EXPECT_EQ(report->waiting.pods, 2);
  EXPECT_EQ(report->waiting.gangs_that_fit, 1);
  EXPECT_EQ(report->waiting.idle_cards, 2);
  // Somebody who spreads, too, finds nothing to blame.
  const auto spread = sim::ReportShadow(read.source, support::Builtins(), "spread");
  ASSERT_TRUE(spread.has_value()) << spread.error().ToString();
  EXPECT_EQ(spread->book.totals().same_node, 4);
  EXPECT_EQ(spread->book.totals().stranded_milli, 0);

  const auto again = sim::ReplayRecording(read.source, support::Builtins());
  ASSERT_TRUE(again.has_value()) << again.error().ToString();
  EXPECT_EQ(again->different, 0U) << again->first_difference;
  // Bound pods are arrivals of a day that another policy can have: with packing all six run.
  const auto what = sim::DriveRecording(read.source, support::Builtins(), {"best-fit", "spread"});
  ASSERT_TRUE(what.has_value()) << what.error().ToString();
  EXPECT_EQ(what->runs[0].arrivals, 6);
  EXPECT_EQ(what->runs[0].placed, 4);
  EXPECT_EQ(what->runs[1].placed, 6);
  EXPECT_DOUBLE_EQ(what->runs[1].wait.max, 0);
  EXPECT_GT(what->runs[2].wait.max, 0);
}

TEST(Shadow, NothingIsHeldAndNobodyIsToldAnything) {
  TempDir folder;
  Life life(folder.path(), Shadow(), kPlenty, WholeCards());
  life.List(FourNodes());
  Spread(&life);
  const std::string digest = life.service->StateDigest();
  const auto refused = [](const auto& answer) {
    EXPECT_EQ(answer.code, service::Code::kPrecondition);
    EXPECT_THAT(answer.message, HasSubstr("c1 is a shadow"));
  };
  pb::ReserveRequest reserve;
  *reserve.mutable_pod() = Half(20);
  refused(life.service->Reserve(life.caller, reserve, life.now));
  *reserve.mutable_gang() = GangOf(30, 2, 2, 1, 500);
  refused(life.service->Reserve(life.caller, reserve, life.now));
  pb::Lease lease;
  lease.set_uid(support::UidOf(1));
  lease.set_epoch(1);
  pb::ConfirmRequest confirm;
  *confirm.mutable_lease() = lease;
  refused(life.service->Confirm(life.caller, confirm, life.now));
  pb::RenewRequest renew;
  *renew.mutable_lease() = lease;
  refused(life.service->Renew(life.caller, renew, life.now));
  pb::ReleaseRequest release;
  *release.mutable_lease() = lease;
  refused(life.service->Release(life.caller, release, life.now));
  pb::EvictRequest evict;
  *evict.mutable_pod() = Whole(21);
  evict.mutable_pod()->mutable_standing()->set_priority(100);
  refused(life.service->Evict(life.caller, evict, life.now));
  evict.set_dry_run(true);  // what it would do may be asked
  EXPECT_TRUE(life.service->Evict(life.caller, evict, life.now).ok());
  pb::BatchRequest batch;
  *batch.add_items()->mutable_reserve()->mutable_pod() = Half(22);
  EXPECT_THAT(life.service->Batch(life.caller, batch, life.now).body.results(0).bad_input(),
              HasSubstr("is a shadow"));
  life.service->Tick(life.now.Plus(1'000'000));
  EXPECT_EQ(life.service->StateDigest(), digest);
  EXPECT_EQ(life.service->open_leases(), 0);
  EXPECT_EQ(life.service->engine().allocation_count(), 4U);
  EXPECT_TRUE(life.service->engine().nominations().empty());
  EXPECT_TRUE(life.service->ActionsAfter(0, {}, 100).empty());
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  for (std::size_t s = 0; s < read.source.segments; ++s) {
    const auto segment = read.source.read(s);
    ASSERT_TRUE(segment.has_value());
    for (const JournalRecord& record : segment->journal.records) {
      EXPECT_FALSE(std::holds_alternative<ReservedRecord>(record.body) ||
                   std::holds_alternative<GangReservedRecord>(record.body) ||
                   std::holds_alternative<NominatedRecord>(record.body) ||
                   std::holds_alternative<ConfirmedRecord>(record.body));
    }
  }
}

// What was there when it began to look is not judged; without a target it takes what it finds.
TEST(Shadow, TheFirstListingIsNotJudgedButMeasuredBy) {
  TempDir folder;
  service::ClusterConfig config = Shadow();
  config.target_skus.clear();
  Life life(folder.path(), config, kPlenty, WholeCards());
  std::vector<pb::Delta> deltas = FourNodes();
  deltas.push_back(Tell(Whole(1), "n0"));
  life.List(deltas);
  EXPECT_EQ(life.service->shadow().totals().bound, 0);
  ASSERT_NE(life.service->engine().policy().policy, nullptr);
  life.Wait(1);
  life.Tell({Tell(Half(2), "n1")});
  life.Wait(1);
  life.Tell({Tell(Half(3), "n2")});
  EXPECT_EQ(life.service->shadow().totals().bound, 2);
  EXPECT_EQ(life.service->shadow().totals().stranded_milli, 1000);
  // A pod that is bound where it does not fit by the books.
  life.Wait(1);
  life.Tell({Tell(Half(4), "n0")});
  EXPECT_EQ(life.service->shadow().totals().overbooked, 1);
  EXPECT_EQ(life.service->shadow().totals().stranded_milli, 1000);  // that is not compared
  // The same listing again, after the stream broke: nothing is judged twice.
  std::vector<pb::Delta> again = FourNodes();
  again.push_back(Tell(Whole(1), "n0"));
  again.push_back(Tell(Half(2), "n1"));
  again.push_back(Tell(Half(3), "n2"));
  again.push_back(Tell(Half(4), "n0"));
  again.push_back(Tell(Half(5), "n3"));  // bound meanwhile: nobody knows before what
  life.List(again);
  EXPECT_EQ(life.service->shadow().totals().bound, 3);
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  const auto report = sim::ReportShadow(read.source, support::Builtins());
  ASSERT_TRUE(report.has_value()) << report.error().ToString();
  EXPECT_EQ(report->book.totals().bound, 3);
  EXPECT_EQ(report->book.totals().stranded_milli, 1000);
  EXPECT_EQ(report->there_before, 2);
}

// On an empty cluster the first ten pods tell what is typical; every one is judged, live and again.
TEST(Shadow, TenPodsTellWhatIsTypical) {
  TempDir folder;
  service::ClusterConfig config = Shadow();
  config.target_skus.clear();
  Life life(folder.path(), config, kPlenty, WholeCards());
  life.List({NodeDelta("n0", 64'000, 16), NodeDelta("n1", 64'000, 16)});
  for (std::uint64_t p = 1; p <= 14; ++p) {
    life.Wait(1);
    life.Tell({Tell(Half(p), "n" + std::to_string(p % 2))});
  }
  const ShadowBook::Totals live = life.service->shadow().totals();
  EXPECT_EQ(live.bound, 14);
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  const auto report = sim::ReportShadow(read.source, support::Builtins());
  ASSERT_TRUE(report.has_value()) << report.error().ToString();
  EXPECT_TRUE(report->measured);
  EXPECT_EQ(report->there_before, 0);
  EXPECT_EQ(report->book.totals().bound, 14);
  EXPECT_EQ(report->book.totals().stranded_milli, live.stranded_milli);
  EXPECT_EQ(report->book.totals().same_node, live.same_node);
}

TEST(Shadow, TheTraceHasThePodsThatWereSeen) {
  TempDir folder;
  Life life(folder.path(), Shadow(), kPlenty, WholeCards());
  std::vector<pb::Delta> deltas = FourNodes();
  deltas.push_back(Tell(Half(9), "n3"));
  life.List(deltas);
  Spread(&life);
  life.Wait(60);
  life.Tell({GoneDelta(2)});
  life.Tell({Tell(Whole(11), "")});
  life.Wait(60);
  life.Tell({GoneDelta(3)});
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  const auto made = sim::TraceOfRecording(read.source);
  ASSERT_TRUE(made.has_value()) << made.error().ToString();
  const std::string path = folder.path() + "/trace";
  const Status written = trace::WriteTrace(*made, path);
  ASSERT_TRUE(written.has_value()) << written.error().ToString();
  const auto trace = trace::ReadTrace(path);
  ASSERT_TRUE(trace.has_value()) << trace.error().ToString();
  std::set<std::string> jobs, expected;
  for (const trace::Job& job : trace->jobs) jobs.insert(job.id);
  for (const std::uint64_t pod : {1U, 2U, 3U, 4U, 9U, 11U})
    expected.insert(UidText(support::Uid(pod)));
  EXPECT_EQ(jobs, expected);
  EXPECT_EQ(trace->nodes.size(), 4U);
  EXPECT_EQ(trace->placements.size(), 5U);  // one waited to the end
  for (const trace::Job& job : trace->jobs) {
    if (job.id != UidText(support::Uid(2))) continue;
    EXPECT_EQ(job.end_us - job.start_us, 90'000'000);  // bound 30 s after the first, gone 60 s on
    EXPECT_EQ(job.start_us - job.submit_us, 5'000'000);
  }
  auto cluster = sim::NodesFromTrace(trace->nodes);
  ASSERT_TRUE(cluster.has_value()) << cluster.error().ToString();
  const auto workload = sim::MakeWorkload("seen", std::move(*cluster), trace->jobs, trace->tasks);
  ASSERT_TRUE(workload.has_value()) << workload.error().ToString();
  const auto run = sim::RunReplay(*workload, support::Policy("best-fit"), 1, {}, {});
  ASSERT_TRUE(run.has_value()) << run.error().ToString();
  EXPECT_EQ(run->arrivals, 6);
  EXPECT_EQ(run->placed, 6);
}

}  // namespace
}  // namespace basalt
