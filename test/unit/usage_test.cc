// Allocated against used: attribution, grains, idle stretches, coverage, cards.
#include "sim/usage.h"

#include <gtest/gtest.h>

#include "traces/check.h"
#include "traces/usage_attach.h"
#include "traces/usage_names.h"

namespace basalt::sim {
namespace {

constexpr std::int64_t kHour = 3'600'000'000;

// Jobs a (2 whole cards of n0) and b, c (0.5 and 0.25 of card 0 of n1), all for ten hours.
trace::Trace Small() {
  trace::Trace t;
  t.manifest.time_zero = "1970-01-02T00:00:00Z";
  for (const char* id : {"n0", "n1"}) {
    trace::Node node;
    node.id = id;
    node.model = "A100";
    node.gpu_count = 2;
    node.gpu_mem_mib = 40960;
    t.nodes.push_back(node);
  }
  const auto job = [&](const char* id, const char* tenant, std::int32_t cards, std::int32_t milli,
                       MiB memory, const char* node, const char* gpus) {
    trace::Job j;
    j.id = id;
    j.tenant = tenant;
    j.kind = "infer";
    j.start_us = 0;
    j.end_us = 10 * kHour;
    t.jobs.push_back(j);
    trace::Task task;
    task.job_id = id;
    task.task = "main";
    task.gpu_num = cards;
    task.gpu_milli = milli;
    task.gpu_mem_mib = memory;
    t.tasks.push_back(task);
    trace::Placement p;
    p.job_id = id;
    p.task = "main";
    p.node_id = node;
    p.gpu_ids = gpus;
    t.placements.push_back(p);
  };
  job("ns/a", "ads/rank", 2, 1000, -1, "n0", "0;1");
  job("ns/b", "ads/feed", 1, 500, 10240, "n1", "0");
  job("ns/c", "maps", 1, 250, 10240, "n1", "0");
  return t;
}

void Row(trace::Trace* t, const char* job, const char* node, const char* card, double hour,
         std::string_view metric, double value) {
  trace::Usage u;
  u.job_id = job;
  u.node_id = node;
  u.gpu_id = card;
  u.time_us = static_cast<std::int64_t>(hour * kHour);
  u.metric = metric;
  u.value_micro = static_cast<std::int64_t>(value * 1e6);
  t->usage.push_back(u);
}

UsageReport Report(const trace::Trace& t, const UsageOptions& options = {}) {
  EXPECT_TRUE(trace::Validate(t).ok()) << trace::Validate(t).ToString();
  const auto report = ReportUsage(t, options);
  EXPECT_TRUE(report.has_value());
  return *report;
}

TEST(Usage, WithoutMeasurementsAllIsUnknownNotIdle) {
  const UsageReport r = Report(Small());
  EXPECT_DOUBLE_EQ(r.total.allocated_hours, 20 + 5 + 2.5);
  EXPECT_EQ(r.total.measured_hours, 0);
  EXPECT_EQ(r.total.wasted_hours, 0);
  EXPECT_EQ(r.total.idle_jobs, 0);
  // a has whole cards, whose memory the node says: 2 x 40 GiB.
  EXPECT_DOUBLE_EQ(r.total.memory_allocated, 10 * (80 + 10 + 10));
  EXPECT_EQ(r.departments.at("ads").jobs, 2);
  EXPECT_EQ(r.tenants.size(), 3U);
  EXPECT_EQ(r.skus.at("infer").jobs, 3);
}

TEST(Usage, SlicesCardsAndCoverage) {
  trace::Trace t = Small();
  for (int h = 0; h < 10; ++h) {
    Row(&t, "ns/a", "n0", "0", h, trace::kGpuUtilPct, 60);  // one of its two cards
    Row(&t, "ns/b", "n1", "0", h, trace::kGpuUtilPct, 25);  // half of its half card
    Row(&t, "ns/b", "n1", "0", h, trace::kGpuMemMib, 5120);
  }
  const UsageReport r = Report(t);
  ASSERT_EQ(r.jobs.size(), 3U);
  const UsageTotals& a = r.jobs[0].totals;
  EXPECT_DOUBLE_EQ(a.measured_hours, 10);
  EXPECT_NEAR(a.used_hours, 6, 1e-9);
  EXPECT_NEAR(a.wasted_hours, 4, 1e-9);
  const UsageTotals& b = r.jobs[1].totals;
  EXPECT_DOUBLE_EQ(b.measured_hours, 5);
  EXPECT_NEAR(b.used_hours, 2.5, 1e-9);
  EXPECT_NEAR(b.memory_measured, 100, 1e-9);
  EXPECT_NEAR(b.memory_used, 50, 1e-9);
  EXPECT_EQ(r.jobs[2].totals.measured_hours, 0);
  ASSERT_EQ(r.cards.size(), 3U);  // n0/0, n0/1, n1/0
  EXPECT_DOUBLE_EQ(r.cards[2].allocated_hours, 7.5);
  EXPECT_NEAR(r.cards[2].used_hours, 2.5, 1e-9);
  EXPECT_NEAR(r.cards[2].memory_mean_mib, 5120, 1e-6);
  EXPECT_EQ(r.cards[1].measured_hours, 0);
  EXPECT_EQ(r.cards[0].model, "A100");
}

TEST(Usage, ACardsFigureIsOfItsOnlyHolder) {
  trace::Trace t = Small();
  t.jobs[2].start_us = 4 * kHour;  // b is alone on the card until then
  for (int h = 0; h < 10; ++h) {
    Row(&t, "", "n1", "0", h, trace::kGpuUtilPct, 40);
    Row(&t, "", "n0", "1", h, trace::kGpuUtilPct, 90);
  }
  const UsageReport r = Report(t);
  EXPECT_NEAR(r.jobs[0].totals.used_hours, 9, 1e-9);
  EXPECT_NEAR(r.jobs[0].totals.measured_hours, 10, 1e-9);
  EXPECT_NEAR(r.jobs[1].totals.measured_hours, 4 * 0.5, 1e-9);
  EXPECT_NEAR(r.jobs[1].totals.used_hours, 4 * 0.4, 1e-9);
  EXPECT_EQ(r.jobs[2].totals.measured_hours, 0);
  EXPECT_NEAR(r.cards[2].used_hours, 4, 1e-9);
}

TEST(Usage, TheFinestGrainCounts) {
  trace::Trace t = Small();
  Row(&t, "ns/a", "", "", 0, trace::kGpuUtilPct, 150);  // both cards together
  t.usage.back().time_us = trace::kUnknownTime;         // of the whole run
  UsageReport r = Report(t);
  EXPECT_NEAR(r.jobs[0].totals.used_hours, 15, 1e-9);
  EXPECT_NEAR(r.jobs[0].totals.measured_hours, 20, 1e-9);
  Row(&t, "ns/a", "n0", "0", 0, trace::kGpuUtilPct, 10);
  t.usage.back().time_us = trace::kUnknownTime;
  r = Report(t);
  EXPECT_NEAR(r.jobs[0].totals.used_hours, 1, 1e-9);
  EXPECT_NEAR(r.jobs[0].totals.measured_hours, 10, 1e-9);
}

TEST(Usage, MeasurementsGrowStale) {
  trace::Trace t = Small();
  Row(&t, "ns/b", "n1", "0", 1, trace::kGpuUtilPct, 50);
  EXPECT_NEAR(Report(t).jobs[1].totals.measured_hours, 0.5 * 300 / 3600, 1e-9);
  UsageOptions options;
  options.hold_us = 2 * kHour;
  EXPECT_NEAR(Report(t, options).jobs[1].totals.measured_hours, 1, 1e-9);
  Row(&t, "ns/b", "n1", "0", 11, trace::kGpuUtilPct, 50);  // after its end
  Row(&t, "ns/b", "n1", "0", 12, trace::kGpuUtilPct, 50);
  options.to_us = 10 * kHour;
  EXPECT_NEAR(Report(t, options).jobs[1].totals.measured_hours, 1, 1e-9);
}

TEST(Usage, IdleStretches) {
  trace::Trace t = Small();
  // b: 1 % of a card is 2 % of its half: idle. Busy at hour 7.
  for (int h = 0; h < 10; ++h) Row(&t, "ns/b", "n1", "0", h, trace::kGpuUtilPct, h == 7 ? 30 : 1);
  for (int h = 0; h < 10; ++h) Row(&t, "ns/c", "n1", "0", h, trace::kGpuUtilPct, 2);  // 8 %
  UsageReport r = Report(t);
  EXPECT_EQ(r.total.idle_jobs, 1);
  EXPECT_NEAR(r.jobs[1].longest_idle_hours, 7, 1e-9);
  EXPECT_NEAR(r.jobs[1].totals.idle_hours, 3.5, 1e-9);  // the two hours after are too short
  UsageOptions options;
  options.idle_for_us = 8 * kHour;
  EXPECT_EQ(Report(t, options).total.idle_jobs, 0);
  options.idle_below_percent = 9;
  EXPECT_NEAR(Report(t, options).jobs[2].totals.idle_hours, 2.5, 1e-9);
}

TEST(IdleDetector, DueAfterLongEnoughBelow) {
  IdleDetector idle(5'000'000, 6 * kHour);
  EXPECT_FALSE(idle.DueAt());
  idle.Measured({kHour}, 4'999'999);
  EXPECT_EQ(idle.DueAt()->us, 7 * kHour);
  idle.Measured({3 * kHour}, 0);
  EXPECT_EQ(idle.Since()->us, kHour);
  EXPECT_FALSE(idle.Due({7 * kHour - 1}));
  EXPECT_TRUE(idle.Due({7 * kHour}));
  idle.Measured({5 * kHour}, 5'000'000);  // the threshold itself is use
  EXPECT_FALSE(idle.DueAt());
  idle.Measured({8 * kHour}, 0);
  idle.Unknown();
  EXPECT_FALSE(idle.Since());
}

TEST(Usage, NoTimes) {
  trace::Trace t = Small();
  for (trace::Job& j : t.jobs) j.start_us = j.end_us = trace::kUnknownTime;
  EXPECT_FALSE(ReportUsage(t, {}));
  UsageOptions options;
  options.from_us = 0;
  options.to_us = kHour;
  EXPECT_EQ(Report(t, options).jobs_without_times, 3);
  options.to_us = 0;
  EXPECT_FALSE(ReportUsage(t, options));
}

trace::UsageFile Parse(std::string_view text) {
  trace::Diagnostics d;
  trace::UsageFile file = trace::ParsePrometheus("f", text, &d);
  EXPECT_TRUE(d.ok()) << d.ToString();
  return file;
}

TEST(AttachUsage, HamiDcgmAndTheTracesNames) {
  // DCGM knows card and node, HAMi's monitor only the card; both measure b, and DCGM names c as
  // well on the same card, so that its figure is the card's.
  const auto file = Parse(R"(
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-x",Hostname="n1",pod="b",namespace="ns"} 70 86400000
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-x",Hostname="n1",pod="c",namespace="ns"} 70 86400000
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-y",Hostname="n0",pod="a",namespace="ns"} 55 86400000
hami_container_device_utilization_ratio{namespace="ns",pod="b",container="m",device_uuid="GPU-x"} 20 86400000
hami_container_device_utilization_ratio{namespace="ns",pod="b",container="s",device_uuid="GPU-x"} 5 86400000
Device_utilization_desc_of_container{podnamespace="ns",podname="b",ctrname="m",deviceuuid="GPU-x"} 20 86400000
hami_vgpu_memory_used_bytes{namespace="ns",pod="gone",container="m",device_uuid="GPU-x"} 1048576 86400000
hami_build_info{version="2.10"} 1
)");
  EXPECT_EQ(file.unknown.at("hami_build_info"), 1U);
  const auto attached = trace::AttachUsage({file}, Small());
  ASSERT_TRUE(attached.has_value());
  ASSERT_EQ(attached->rows.size(), 3U);
  const trace::Usage& card = attached->rows[0];
  EXPECT_EQ(card.job_id + card.node_id + card.gpu_id, "n10");
  EXPECT_EQ(card.value_micro, 70'000'000);
  EXPECT_EQ(card.time_us, 0);  // the trace's clock starts a day into 1970
  const trace::Usage& a = attached->rows[1];
  EXPECT_EQ(a.job_id + a.node_id + a.gpu_id, "ns/an00");
  const trace::Usage& b = attached->rows[2];
  EXPECT_EQ(b.job_id + b.node_id + b.gpu_id, "ns/bn10");
  EXPECT_EQ(b.value_micro, 25'000'000);  // containers add up
  EXPECT_EQ(attached->strangers, 1U);
  EXPECT_EQ(attached->doubled, 1U);  // the legacy name
  trace::Trace t = Small();
  t.usage = attached->rows;
  EXPECT_TRUE(trace::Validate(t).ok());
  t.manifest.time_zero.clear();
  EXPECT_FALSE(trace::AttachUsage({file}, t));
}

TEST(AttachUsage, VolcanosPodNames) {
  trace::Trace t = Small();
  t.tasks[0].replicas = 4;
  const auto file = Parse(
      "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",Hostname=\"n0\",exported_pod=\"a-main-3\","
      "exported_namespace=\"ns\",pod=\"dcgm-exporter-7\"} 30\n");
  const auto attached = trace::AttachUsage({file}, t);
  ASSERT_EQ(attached->rows.size(), 1U);
  EXPECT_EQ(attached->rows[0].job_id, "ns/a");
  EXPECT_EQ(attached->rows[0].task, "main");
  EXPECT_EQ(attached->rows[0].replica, 3);
  EXPECT_EQ(attached->rows[0].time_us, trace::kUnknownTime);
}

std::vector<std::string> Cards(const trace::AttachedUsage& attached) {
  std::vector<std::string> out;
  for (const trace::Usage& u : attached.rows) {
    out.push_back(u.job_id + " " + u.node_id + " " + u.gpu_id + " " +
                  std::to_string(u.value_micro / 1'000'000));
  }
  return out;
}

TEST(AttachUsage, CardsThatHaveAUuidAndNoNumber) {
  // The pods on it say which card GPU-x is, although its node is not told; that leaves card 1 of n1
  // for GPU-z. Of n0 nothing says which card is which: in the order of first sight.
  const auto file = Parse(R"(
hami_host_gpu_utilization_ratio{node="n0",device_uuid="GPU-q"} 30
hami_host_gpu_utilization_ratio{node="n0",device_uuid="GPU-p"} 31
hami_host_gpu_utilization_ratio{node="n1",device_uuid="GPU-z"} 32
hami_container_device_utilization_ratio{namespace="ns",pod="c",container="m",device_uuid="GPU-x"} 5
hami_container_device_utilization_ratio{namespace="ns",pod="b",container="m",device_uuid="GPU-x"} 20
)");
  const auto attached = trace::AttachUsage({file}, Small());
  ASSERT_TRUE(attached.has_value());
  EXPECT_EQ(Cards(*attached), (std::vector<std::string>{" n0 0 30", " n0 1 31", " n1 1 32",
                                                        "ns/b n1 0 20", "ns/c n1 0 5"}));
  EXPECT_EQ(attached->cards_by_order, 2U);  // those of n0
  trace::Trace t = Small();
  t.usage = attached->rows;
  UsageOptions options;
  EXPECT_NEAR(Report(t, options).total.measured_hours, 20 + 5 + 2.5, 1e-9);

  // A trace that names cards by UUID keeps its names; what it does not name stays what it is.
  trace::Trace named = Small();
  named.placements[0].gpu_ids = "GPU-p;GPU-r";
  const auto own = trace::AttachUsage({file}, named);
  ASSERT_TRUE(own.has_value());
  EXPECT_EQ(Cards(*own)[0], " n0 GPU-p 31");
  EXPECT_EQ(Cards(*own)[1], " n0 GPU-q 30");
  EXPECT_EQ(own->cards_by_order, 0U);

  // Nothing known of the cards, nothing to map to.
  trace::Trace bare = Small();
  for (trace::Placement& p : bare.placements) p.gpu_ids.clear();
  EXPECT_EQ(Cards(*trace::AttachUsage({file}, bare))[0], " n0 GPU-p 31");
}

}  // namespace
}  // namespace basalt::sim
