// Asks that were read once: what a pod says it wants becomes an engine shape and a handle, so that
// the same pod a thousand times is read once. Handles are good until the book is emptied, at most
// for one boot.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "adapters/rpc/placement.pb.h"
#include "devices/catalog.h"
#include "devices/resources.h"
#include "devices/sku.h"
#include "scheduler-core/base/digest.h"
#include "scheduler-core/engine/engine.h"

namespace basalt::service {

class AskBook {
 public:
  struct Entry {
    ShapeId shape;
    devices::PodRequest request;  // with its slots, for the assignment
    std::uint64_t handle = 0;
  };
  // Who asks: calls are refused when the book is full; what runs already must be recorded, and the
  // number of pods bounds it.
  enum class For : std::uint8_t { kCall, kObservation };

  AskBook(const devices::Catalog* catalog, const std::vector<devices::Sku>* skus,
          std::uint64_t server_epoch, std::size_t max_asks)
      : catalog_(catalog), skus_(skus), server_epoch_(server_epoch), max_asks_(max_asks) {}

  // The entry lives until Clear. `sku` is set when the ask names one. Errors: bad input; kStale in
  // where: a handle from before the last Clear or of another boot; kFull: too many distinct asks.
  static constexpr const char* kStale = "shape handle";
  static constexpr const char* kFull = "shape limit";
  Result<const Entry*> Read(Engine& engine, const placement::v1::Ask& ask, std::string* sku,
                            For reader = For::kCall);
  Result<const Entry*> OfSpec(Engine& engine, RequestSpec spec, For reader = For::kCall);
  Result<const Entry*> OfPod(Engine& engine, const devices::PodResources& pod,
                             const std::vector<std::string>& tolerations, For reader = For::kCall);
  std::size_t size() const { return entries_.size(); }
  std::size_t max_asks() const { return max_asks_; }
  void SetMaxAsks(std::size_t most) { max_asks_ = most; }
  // Forgets everything: the shapes are about to go with their engine.
  void Clear();

 private:
  Result<const Entry*> Insert(Engine& engine, devices::PodRequest request, For reader);
  const devices::Catalog* catalog_;
  const std::vector<devices::Sku>* skus_;
  std::uint64_t server_epoch_;
  std::size_t max_asks_;
  std::uint64_t first_ = 0;  // number of entries_[0]: no handle is given twice
  std::deque<Entry> entries_;
  std::map<Digest128, std::uint32_t> by_pod_;      // of the pod's own words
  std::map<Digest128, std::uint32_t> by_request_;  // of what they mean
};

}  // namespace basalt::service
