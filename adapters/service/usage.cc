#include "adapters/service/usage.h"

#include "adapters/service/uid.h"

namespace basalt::service {
namespace {

bool HasCard(const ClusterState& state, NodeId node, const std::string& uuid) {
  for (int c = 0; c < state.hot(node).cards; ++c) {
    if (state.CardUuid(node, c) == uuid) return true;
  }
  return false;
}

}  // namespace

placement::v1::ReportUsageResponse UsageBook::Report(
    const Engine& engine, const placement::v1::ReportUsageRequest& request) {
  placement::v1::ReportUsageResponse out;
  for (const auto& s : request.samples()) {
    const Sample sample{SimTime{s.time_us()}, s.compute_milli(), s.memory_mib()};
    Sample* last = nullptr;
    if (!s.pod().uid().empty()) {
      const Result<PodUid> uid = ParseUid(s.pod().uid());
      if (uid && engine.Find(*uid) != nullptr) {
        last = &pods_.try_emplace(*uid, Sample{sample.time}).first->second;
      }
    } else {
      const std::string uuid = s.card_uuid().substr(0, s.card_uuid().find('/'));
      const NodeId node = engine.state().FindNode(s.node());
      // A card without a UUID of its own is called by its node and place, with a '/' between.
      for (const std::string& name : {s.card_uuid(), uuid}) {
        if (last == nullptr && node.valid() && HasCard(engine.state(), node, name)) {
          last = &cards_.try_emplace({s.node(), s.card_uuid()}, Sample{sample.time}).first->second;
        }
      }
    }
    if (last == nullptr) {
      out.set_unknown(out.unknown() + 1);
    } else if (sample.time < last->time) {
      out.set_stale(out.stale() + 1);
    } else {
      *last = sample;
      out.set_taken(out.taken() + 1);
    }
  }
  return out;
}

void UsageBook::NodeGone(const std::string& node) {
  auto it = cards_.lower_bound({node, ""});
  while (it != cards_.end() && it->first.first == node) it = cards_.erase(it);
}

void UsageBook::Expire(SimTime before) {
  std::erase_if(cards_, [before](const auto& entry) { return entry.second.time < before; });
  std::erase_if(pods_, [before](const auto& entry) { return entry.second.time < before; });
}

}  // namespace basalt::service
