// The scrape that dashboards and alert rules are checked against (test/deploy) has the families and
// labels that a service writes, no more and no fewer.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include "test/support/service_bed.h"

namespace basalt {
namespace {

namespace pb = placement::v1;

// "family{label,label}" of each sample.
std::set<std::string> Shapes(const std::string& text) {
  std::set<std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.front() == '#') continue;
    const std::size_t brace = line.find('{');
    std::string shape = line.substr(0, std::min(brace, line.find(' ')));
    bool quoted = false, name = brace < line.find(' ');
    for (std::size_t i = brace; name && i < line.size(); ++i) {
      const char c = line[i];
      if (c == '\\') ++i;
      if (c == '"') quoted = !quoted;
      if (!quoted && c != '"' && c != '=') shape += c;
      if (!quoted && c == '}') break;
    }
    out.insert(shape);
  }
  return out;
}

TEST(ServiceMetrics, TheScrapeOfTheDashboardsIsWhatIsWritten) {
  service::ClusterConfig config = support::TestCluster();
  config.target_skus = {"half-t4"};
  support::Bed bed(config);
  pb::Delta queue, kube;
  queue.mutable_queue()->set_name("team");
  for (auto* amounts :
       {queue.mutable_queue()->mutable_deserved(), queue.mutable_queue()->mutable_capacity()}) {
    pb::Amount* amount = amounts->Add();
    amount->set_resource("gpu");
    amount->set_amount(4000);
  }
  kube.mutable_node()->mutable_kubernetes()->set_name("n2");
  bed.List({support::NodeDelta("n1", 8000, 4), kube, queue});
  pb::PodRequest pod = support::PodOf(1, 1000, 1, 1000);
  pod.mutable_standing()->set_queue("team");
  ASSERT_TRUE(bed.Reserve(pod).body.has_lease());
  bed.service().ObserveCall("reserve", 100);
  service::MetricsText text;
  bed.service().WriteMetrics(&text);
  std::set<std::string> written = Shapes(text.Text());
  // The gate before the engine and the limits before it are the server's (adapters/rpc/rooms.cc).
  written.insert({"basalt_gate_waiting{cluster}", "basalt_gate_turned_away_total{cluster}",
                  "basalt_calls_limited_total"});
  std::ifstream file(std::string(BASALT_SOURCE_DIR) + "/test/deploy/scrape.prom");
  const std::string recorded{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(Shapes(recorded), written);
}

}  // namespace
}  // namespace basalt
