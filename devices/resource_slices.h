// What DRA drivers publish about a node's cards: ResourceSlices of resource.k8s.io/v1
// (docs/devices.md). A card is one device that is the whole of it, and may have further devices
// that are parts of it: partitions, which take the same counters. Of these the engine can say MIG
// instances whose profile the catalog has and whose memory slices are told by the counters
// (memory-slice-N); all others are kept as `others`: nobody is placed on them, and when somebody
// has one its whole card is taken.
//
// Reading is strict where a slip would hand out a device twice (names, counters, quantities), and
// tolerant of attributes that are not known.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "devices/catalog.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/inventory.h"

namespace basalt::devices {

// A device as allocations name it.
struct DeviceName {
  std::string driver = {};
  std::string pool = {};
  std::string device = {};
  friend auto operator<=>(const DeviceName&, const DeviceName&) = default;
};

// A MIG instance that may be made: a profile at a place.
struct DeviceInstance {
  std::string profile = {};  // MigProfile::name
  std::int32_t start = 0;    // its first memory slice
  std::string device = {};
  friend bool operator==(const DeviceInstance&, const DeviceInstance&) = default;
};

// A card and its devices, all of one driver and pool. `whole.device` is empty where nobody
// publishes the whole card.
struct CardDevices {
  DeviceName whole = {};
  std::vector<DeviceInstance> instances = {};
  std::vector<std::string> others = {};  // parts of it that the engine cannot say
  friend bool operator==(const CardDevices&, const CardDevices&) = default;
};

struct SlicedCard {
  std::string uuid = {};     // attribute uuid; "POOL/DEVICE" where there is none
  std::string product = {};  // attribute productName
  std::string vendor = {};
  MiB memory_mib = 0;          // capacity memory; 0: not told
  std::int32_t numa = -1;      // attribute resource.kubernetes.io/numaNode; -1: not told
  std::string pcie_root = {};  // attribute resource.kubernetes.io/pcieRoot
  bool tainted = false;        // a NoSchedule or NoExecute taint
  CardDevices devices = {};
  friend bool operator==(const SlicedCard&, const SlicedCard&) = default;
};

struct SlicedCards {
  std::vector<SlicedCard> cards = {};     // by driver and pool, then by name: gpu-2 before gpu-10
  std::vector<DeviceName> left_out = {};  // devices of no card; ascending
  std::vector<std::string> notes = {};    // what was left out and why, a line each
};

// The drivers whose devices are cards, ascending.
std::vector<std::string> CardDrivers();
// The vendor of such a driver; empty: it is none.
std::string_view VendorOfDriver(std::string_view driver);
// The engine's name for cards of this product: the catalog's model, else the product as it is.
std::string ModelOfProduct(const Catalog& catalog, std::string_view product);

// `specs`: ResourceSlice.spec of one node as JSON, all slices of their pools. Slices of other
// drivers are not looked at. Errors (where: "resource slice N"): not a slice's spec, more than 1
// MiB of text; a quantity that is none; two devices of one name; two whole cards on one counter
// set.
Result<SlicedCards> ReadResourceSlices(const Catalog& catalog,
                                       const std::vector<std::string>& specs);

// What makes an engine's label and taint of such nodes, so that only pods that ask by claims get
// there, and these nowhere else.
std::string DriverLabel(std::string_view driver);
inline constexpr std::string_view kClaimsOnlyTaint = "basalt.io/dra";

// The devices for a placement's slices, in their order. `whole`: whole cards were asked for, also
// of cards that are cut. Errors (where: the card's UUID): no device is published for a slice.
Result<std::vector<DeviceName>> DevicesOf(const std::vector<CardDevices>& devices,
                                          const std::vector<CardSpec>& cards,
                                          const Catalog& catalog,
                                          const std::vector<SliceTake>& slices, bool whole);

// The slices that allocated devices are, ascending by card: whole cards, or MIG instances. Devices
// that were left out are none. Errors (where: DRIVER/POOL/DEVICE): a device that is not known.
Result<std::vector<SliceTake>> SlicesOfDevices(const Catalog& catalog,
                                               const std::vector<CardDevices>& devices,
                                               const std::vector<DeviceName>& left_out,
                                               const std::vector<CardSpec>& cards,
                                               const std::vector<DeviceName>& allocated);

}  // namespace basalt::devices
