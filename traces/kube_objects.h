// Nodes and pods of a Kubernetes cluster, as `kubectl get -o json` prints them, as canonical rows.
// Internal to the importers k8s and volcano (k8s.h).
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "traces/diagnostics.h"
#include "traces/json_records.h"
#include "traces/kube_devices.h"
#include "traces/kube_quantity.h"
#include "traces/trace.h"

namespace basalt::trace {

// A JSON object in the making, for `extra` and `labels`; members keep their order.
class JsonObject {
 public:
  void AddText(std::string_view key, std::string_view text);
  void AddJson(std::string_view key, const JsonValue& value);
  void AddJson(std::string_view key, std::string_view json);
  const std::string& text() const { return text_; }  // empty when there are no members

 private:
  std::string text_;
};

// What was lost or assumed, counted over all objects.
struct KubeCounts {
  std::size_t unnamed_models = 0, mixed_cards = 0, unready = 0, tainted = 0;
  std::size_t unlimited_compute = 0, percent_memory = 0, uneven_containers = 0, other_devices = 0;
  std::size_t constraints = 0, rounded = 0;
  std::size_t mig = 0, units = 0, unhealthy = 0, shared_nodes = 0, unknown_types = 0;
  std::set<std::string> other_names, share_names;  // of devices without a column
};

struct Pod {
  std::uint32_t line = 0;
  std::string space, name;
  std::string group;                  // its PodGroup, in its namespace
  std::string job, task, owner;       // of Volcano: job and task; the controller, any kind
  std::optional<std::int32_t> index;  // in the task
  std::string node, cards;            // empty: not bound
  Job row;                            // as a job of its own
  Task ask;                           // task "pod", one replica
};

class KubeReader {
 public:
  KubeReader(const std::string& file, KubeCounts* counts, Diagnostics* diagnostics)
      : file_(file), counts_(counts), diagnostics_(diagnostics) {}

  std::optional<Node> ReadNode(const JsonValue& object);
  std::optional<Pod> ReadPod(const JsonValue& object);
  // What one pod of this metadata and spec asks for: a pod's own, or a template's.
  Task ReadAsk(const JsonValue* metadata, const JsonValue* spec);

  // The cards of `ask` in the task's columns, and in `extra` what they do not hold.
  void PutCards(const PodAsk& pod, CardAsk ask, Task* task, JsonObject* extra);

  // "namespace/name" of an object; reports when there is no name.
  std::string Id(const JsonValue& object);
  // RFC 3339; unknown when it is absent, reported when it is something else.
  std::int64_t Instant(const JsonValue* value);
  // A whole number of a member, `otherwise` when it is absent; reported when it is out of range.
  std::int64_t Whole(const JsonValue* value, std::int64_t low, std::int64_t high,
                     std::int64_t otherwise);
  void Report(const JsonValue& at, std::string message);

 private:
  struct Sum {
    std::int64_t cpu = 0, memory = 0, disk = 0;
  };
  std::int64_t Amount(const Amounts& amounts, std::string_view name, std::int64_t num,
                      std::int64_t den, Round round, std::int64_t otherwise);

  const std::string& file_;
  KubeCounts* counts_;
  Diagnostics* diagnostics_;
};

// Notes in words, for a manifest.
void AddKubeNotes(const KubeCounts& counts, std::vector<std::string>* notes);

}  // namespace basalt::trace
