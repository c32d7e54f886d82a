// Asks that were read once: what a pod says it wants becomes an engine shape and a handle, so that
// the same pod a thousand times is read once. Handles are good for one boot.
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
  // Distinct asks of a boot: shapes are never freed by the engine.
  static constexpr std::size_t kMaxAsks = 65'536;

  AskBook(const devices::Catalog* catalog, const std::vector<devices::Sku>* skus,
          std::uint64_t server_epoch)
      : catalog_(catalog), skus_(skus), server_epoch_(server_epoch) {}

  // The entry lives as long as the book. `sku` is set when the ask names one. Errors: bad input;
  // kStale in where: a handle of another boot; kFull: too many distinct asks.
  static constexpr const char* kStale = "shape handle";
  static constexpr const char* kFull = "shape limit";
  Result<const Entry*> Read(Engine& engine, const placement::v1::Ask& ask, std::string* sku);
  Result<const Entry*> OfSpec(Engine& engine, RequestSpec spec);
  Result<const Entry*> OfPod(Engine& engine, const devices::PodResources& pod,
                             const std::vector<std::string>& tolerations);
  std::size_t size() const { return entries_.size(); }

 private:
  Result<const Entry*> Insert(Engine& engine, devices::PodRequest request);
  const devices::Catalog* catalog_;
  const std::vector<devices::Sku>* skus_;
  std::uint64_t server_epoch_;
  std::deque<Entry> entries_;
  std::map<Digest128, std::uint32_t> by_pod_;      // of the pod's own words
  std::map<Digest128, std::uint32_t> by_request_;  // of what they mean
};

}  // namespace basalt::service
