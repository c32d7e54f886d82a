// Nodes and pods learned from the bodies of Volcano's extender, for clusters in which nothing syncs
// (configuration `learn`). Each predicate call has its node as Kubernetes has it and every pod on
// it: for that node, that is the truth. What is learned goes the way that a sync stream goes, as
// the source "learned". A node whose bytes are those of the last time costs a hash of them.
//
// What is not seen: nodes and pods that no call is about. A pod's end is noticed at the next call
// about its node, and a node's never; neither takes a place that a call would be answered with.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "adapters/http/pod_json.h"
#include "adapters/rpc/rooms.h"

namespace basalt::http {

// v1.Node as NodeResources; of its annotations those of `keys`. Errors name the field.
Result<pb::NodeResources> ReadNode(simdjson::ondemand::object node, const AnnotationKeys& keys);

class Learner {
 public:
  struct Keys {
    AnnotationKeys node, pod, grants;
  };
  Learner(rpc::Room* room, service::Caller caller, Keys keys);
  // `node`: v1.Node, `tasks`: Volcano's map of TaskInfo, both as they stand in a padded body.
  // Empty: learned, or known already. Else why the node cannot be used.
  std::string See(const std::string& name, std::string_view node, std::string_view tasks);

 private:
  struct Seen {
    bool known = false;  // told in this run, with these bytes
    std::uint64_t node_hash = 0;
    std::uint64_t tasks_hash = 0;
    std::set<std::string> pods = {};  // that were told to be on it
    std::string refused = {};
  };
  Status Open();
  // `node` empty: it is as it was.
  Result<pb::SyncDeltas> Deltas(const std::string& name, std::string_view node,
                                std::string_view tasks, std::set<std::string>* present);
  // `present` gets its uid unless it has ended; nothing is returned for one that is not bound yet.
  Result<std::optional<pb::PodState>> ReadPodOf(simdjson::ondemand::object task,
                                                const std::string& node,
                                                std::set<std::string>* present);

  rpc::Room* room_;
  const service::Caller caller_;
  const Keys keys_;
  std::mutex mutex_;  // of all below
  bool open_ = false;
  std::uint64_t stream_ = 0;
  std::uint64_t generation_ = 0;
  std::map<std::string, Seen, std::less<>> seen_;
};

}  // namespace basalt::http
