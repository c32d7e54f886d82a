// The parts of the service by themselves: UIDs, configuration, metrics, actions, the ring of
// events.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "adapters/service/actions.h"
#include "adapters/service/config.h"
#include "adapters/service/metrics.h"
#include "adapters/service/uid.h"
#include "adapters/service/watch.h"

namespace basalt::service {
namespace {

namespace pb = placement::v1;
using testing::HasSubstr;

TEST(ServiceUid, ReadsAndWritesUuids) {
  const std::string text = "01234567-89ab-cdef-0123-456789abcdef";
  const auto uid = ParseUid(text);
  ASSERT_TRUE(uid.has_value());
  EXPECT_EQ(uid->hi, 0x0123456789abcdefU);
  EXPECT_EQ(uid->lo, 0x0123456789abcdefU);
  EXPECT_EQ(UuidText(*uid), text);
  EXPECT_EQ(ParseUid("0123456789ABCDEF0123456789abcdef"), *uid);
  for (const char* bad :
       {"", "x", "01234567-89ab-cdef-0123-456789abcde", "0123456789ab-cdef-0123-456789abcdef-",
        "0123456789abcdef0123456789abcdeg", "00000000-0000-0000-0000-000000000000"}) {
    EXPECT_FALSE(ParseUid(bad).has_value()) << bad;
  }
  EXPECT_EQ(JobOf(""), 0u);
  EXPECT_NE(JobOf("a"), JobOf("b"));
}

TEST(ServiceConfig, ReadsEveryKey) {
  const auto config = ParseServerConfig("server.yaml", R"(
listen_unix: /run/basalt.sock
listen_grpc: 127.0.0.1:7070
listen_http: 127.0.0.1:7071
store: /var/lib/basalt
fsync: 10ms
snapshot_mib: 128
clusters:
  - id: east
    policy: fgd
    seed: 7
    needs_queues: "yes"
    lease_ttl_s: 30
    target_skus: [small, large]
    tiers:
      - {tier: 1, name: rack}
  - id: west
access:
  - identity: spiffe://volcano
    tenants: [ml]
  - identity: uid:0
    role: admin
)");
  ASSERT_TRUE(config.has_value()) << config.error().ToString();
  EXPECT_EQ(config->listen_unix, "/run/basalt.sock");
  EXPECT_EQ(config->fsync, "10ms");
  EXPECT_EQ(config->snapshot_mib, 128);
  ASSERT_EQ(config->clusters.size(), 2u);
  EXPECT_EQ(config->clusters[0].policy, "fgd");
  EXPECT_TRUE(config->clusters[0].needs_queues);
  EXPECT_EQ(config->clusters[0].lease_ttl_us, 30'000'000);
  EXPECT_EQ(config->clusters[0].tier_names.at(1), "rack");
  EXPECT_EQ(config->clusters[0].target_skus.size(), 2u);
  EXPECT_EQ(config->clusters[1].policy, "binpack/topology");
  ASSERT_EQ(config->access.size(), 2u);
  EXPECT_EQ(config->access[0].role, Role::kScheduler);
  EXPECT_EQ(config->access[1].role, Role::kAdmin);
}

TEST(ServiceConfig, FaultsAreNamedWithTheirPlace) {
  const auto error = [](const std::string& text) {
    const auto config = ParseServerConfig("server.yaml", text);
    return config.has_value() ? std::string("accepted") : config.error().ToString();
  };
  EXPECT_THAT(error("clusters:\n  - id: a\n    polcy: fgd\n"),
              HasSubstr("server.yaml:3:5: unknown key"));
  EXPECT_THAT(error("clusters:\n  - id: a\n    polcy: fgd\n"), HasSubstr("policy"));
  EXPECT_THAT(error("clusters: []\n"), HasSubstr("names no cluster"));
  EXPECT_THAT(error("store: x\n"), HasSubstr("clusters"));
  EXPECT_THAT(error("clusters: [{id: a}, {id: a}]\n"), HasSubstr("stands twice"));
  EXPECT_THAT(error("clusters: [{id: a, lease_ttl_s: 5000}]\n"), HasSubstr("max_lease_ttl_s"));
  EXPECT_THAT(error("clusters: [{id: a, needs_queues: maybe}]\n"), HasSubstr("yes or no"));
  EXPECT_THAT(error("clusters: [{id: a, learn: maybe}]\n"), HasSubstr("learn is yes or no"));
  EXPECT_THAT(error("clusters: [{id: a, learn: \"yes\", needs_queues: \"yes\"}]\n"),
              HasSubstr("queues are not learned"));
  EXPECT_THAT(error("fsync: soon\nclusters: [{id: a}]\n"), HasSubstr("server.yaml:1:8: fsync"));
  EXPECT_THAT(error("tls_cert: a.pem\nclusters: [{id: a}]\n"), HasSubstr("belong together"));
  EXPECT_THAT(error("clusters: [{id: a}]\naccess: [{identity: x, role: king}]\n"),
              HasSubstr("no role"));
}

TEST(ServiceMetrics, TextHasEachFamilyOnce) {
  Metrics metrics;
  metrics.Observe("propose", 7);
  metrics.Observe("propose", 2'000'000);
  metrics.CountOutcome("wait", "quota");
  metrics.CountOutcome("wait", "quota");
  metrics.Count("mismatches");
  MetricsText text;
  metrics.Write("a", &text);
  metrics.Write("b\"\n", &text);
  const std::string out = text.Text();
  EXPECT_THAT(out, HasSubstr("# TYPE basalt_call_seconds histogram\n"));
  EXPECT_THAT(out,
              HasSubstr("basalt_call_seconds_bucket{cluster=\"a\",call=\"propose\",le=\"5e-06\"}"
                        " 0\n"));
  EXPECT_THAT(out, HasSubstr("le=\"1e-05\"} 1\n"));
  EXPECT_THAT(out, HasSubstr("le=\"+Inf\"} 2\n"));
  EXPECT_THAT(out, HasSubstr("basalt_call_seconds_count{cluster=\"a\",call=\"propose\"} 2\n"));
  EXPECT_THAT(out,
              HasSubstr("basalt_outcomes_total{cluster=\"a\",kind=\"wait\",cause=\"quota\"} 2\n"));
  EXPECT_THAT(out, HasSubstr("basalt_mismatches_total{cluster=\"b\\\"\\n\"} 1\n"));
  std::size_t types = 0;
  for (std::size_t at = out.find("# TYPE"); at != std::string::npos;
       at = out.find("# TYPE", at + 1)) {
    ++types;
  }
  EXPECT_EQ(types, 3u);
  EXPECT_EQ(metrics.counter("mismatches"), 1u);
  EXPECT_EQ(metrics.counter("none"), 0u);
}

// A scrape with a byte that is no UTF-8, or with a control character, would be refused as a whole.
TEST(ServiceMetrics, LabelsAreTextWhateverTheNamesAre) {
  MetricsText text;
  text.Add("basalt_x", "gauge", "X.", {{"node", "a\x1b\xFF\r\nb\xC3"}}, 1);
  EXPECT_THAT(text.Text(), HasSubstr(R"(basalt_x{node="a\\x1b\\xff\\x0d\nb\\xc3"} 1)"));
}

TEST(ServiceWatch, WhoIsTooLateIsTold) {
  WatchRing ring(4);
  for (int i = 0; i < 10; ++i) ring.Add(pb::WatchEvent());
  EXPECT_EQ(ring.last(), 10u);
  const auto all = ring.After(0, 100);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].number(), 7u);
  EXPECT_TRUE(all[0].lagged());
  EXPECT_FALSE(ring.After(6, 100)[0].lagged());
  EXPECT_EQ(ring.After(8, 1).at(0).number(), 9u);
  EXPECT_TRUE(ring.After(10, 1).empty());
}

TEST(ServiceActions, OnceAndInOrder) {
  ActionLog log;
  const auto action = [](const std::string& id, const std::string& uid, pb::ActionKind kind,
                         std::int64_t deadline) {
    pb::Action a;
    a.set_id(id);
    a.mutable_pod()->set_uid(uid);
    a.set_kind(kind);
    a.set_deadline_us(deadline);
    return a;
  };
  EXPECT_EQ(log.Add(action("e1", "p1", pb::ACTION_KIND_EVICT, 0)).sequence(), 1u);
  EXPECT_EQ(log.Add(action("b1", "p2", pb::ACTION_KIND_BIND, 100)).sequence(), 2u);
  EXPECT_EQ(log.Add(action("e1", "p1", pb::ACTION_KIND_EVICT, 0)).sequence(), 1u);
  log.Add(action("b2", "p1", pb::ACTION_KIND_BIND, 0));
  EXPECT_EQ(log.After(0, {}, 10).size(), 3u);
  EXPECT_EQ(log.After(1, {}, 10).size(), 2u);
  EXPECT_EQ(log.After(0, {pb::ACTION_KIND_BIND}, 1).at(0).id(), "b1");
  EXPECT_FALSE(log.ResultOf("b1").has_value());
  log.Expire(SimTime{100});
  EXPECT_FALSE(log.ResultOf("b1").has_value());
  log.Expire(SimTime{101});
  ASSERT_TRUE(log.ResultOf("b1").has_value());
  EXPECT_FALSE(log.ResultOf("b1")->done);
  EXPECT_FALSE(log.Ack("b1", {true, ""}, SimTime{101}));  // too late
  // The pod is gone: its eviction is done, what else was wanted of it is not.
  log.PodGone("p1", SimTime{102});
  EXPECT_TRUE(log.ResultOf("e1")->done);
  EXPECT_FALSE(log.ResultOf("b2")->done);
  EXPECT_EQ(log.open(), 0u);
  EXPECT_TRUE(log.Knows("e1"));
  // Results are kept for ten minutes.
  log.Expire(SimTime{600'000'102});
  EXPECT_TRUE(log.Knows("e1"));
  log.Expire(SimTime{600'000'200});
  EXPECT_FALSE(log.Knows("e1"));
  EXPECT_EQ(log.results(), 0u);
}

}  // namespace
}  // namespace basalt::service
