// Requests that name several clusters: one server holds them all, asks each and takes in one. A pod
// or gang that holds something in one of the named clusters stays there, so that a request said
// again is the same lease.
#pragma once

#include <string>

#include "adapters/rpc/rooms.h"

namespace basalt::rpc {

inline constexpr int kMostClusters = 64;

// `request.clusters` is not empty. Errors: header.cluster is named, too; a cluster that is not
// here; a placement (it is of one cluster). A cluster in which the caller may not place is passed
// over; if that is so in all, the first refusal is the answer.
Reply<pb::ProposeResponse> ProposeAmong(Rooms* rooms, const service::Caller& caller,
                                        const pb::ProposeRequest& request, Deadline deadline);
Reply<pb::ReserveResponse> ReserveAmong(Rooms* rooms, const service::Caller& caller,
                                        const pb::ReserveRequest& request, Deadline deadline);

}  // namespace basalt::rpc
