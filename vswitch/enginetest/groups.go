package enginetest

// Why a case is for NICs in memory only.
const (
	noise   = "a kernel takes no frame that is none, and no virtio_net_hdr that lies"
	batches = "a kernel hands over frames in batches of its own"
	long    = "it takes long, and is of the switch: what carries the frames makes no difference to it"
	others  = "labs/guest sends these packets through TAPs"
	flood   = "the ring of a socket has no room for so many at once"
	nothing = "no frame moves"
)

// All are the groups that need no router.
var All = [][]Case{Changes, Frames, Refusals}

// Changes are the cases of what changes a switch: placements, policies, ports, and an appliance that fails. Those that
// take long come first, so that none is left alone at the end.
var Changes = []Case{
	{"KeepUnderLoad", testKeepUnderLoad, long},
	{"AllPairsUnderLoad", testAllPairsUnderLoad, long},
	{"ChangesUnderLoad", testChangesUnderLoad, ""},
	{"ApplyUnderLoad", testApplyUnderLoad, long},
	{"Handover", testHandover, long},
	{"ToldOnce", testToldOnce, long},
	{"Keep", testKeep, long},
	{"Leave", testLeave, long},
	{"Failures", testFailures, long},
	{"FirstFrame", testFirstFrame, long},
	{"Stale", testStale, long},
	{"KeepPolicy", testKeepPolicy, long},
	{"KeepFails", testKeepFails, ""},
	{"KeepRecovers", testKeepRecovers, ""},
	{"Restart", testRestart, ""},
	{"StaleMoves", testStaleMoves, ""},
	{"Drained", testDrained, ""},
	{"Unasked", testUnasked, ""},
	{"RecoveryFails", testRecoveryFails, ""},
	{"BegunAnew", testBegunAnew, ""},
	{"RelatedFlows", testRelatedFlows, ""},
	{"RelatedFlowsAndPolicy", testRelatedFlowsAndPolicy, ""},
	{"RelatedFlowsAreForgotten", testRelatedFlowsAreForgotten, ""},
	{"PlaceProves", testPlaceProves, ""},
	{"FailOption", testFailOption, ""},
	{"KeepNewPort", testKeepNewPort, ""},
	{"KeepDenied", testKeepDenied, ""},
	{"KeepErrors", testKeepErrors, ""},
	{"KeepRefused", testKeepRefused, ""},
	{"Share", testShare, ""},
	{"RestartBesidePlace", testRestartBesidePlace, ""},
	{"CloseWaits", testCloseWaits, ""},
	{"PolicyWaitsForEnd", testPolicyWaitsForEnd, ""},
	{"FullTableAtCarry", testFullTableAtCarry, ""},
	{"GroupsAreNotCarried", testGroupsAreNotCarried, ""},
	{"PlaceCancelled", testPlaceCancelled, ""},
	{"CarryWhileConnectionsBegin", testCarryWhileConnectionsBegin, ""},
	{"CarryFails", testCarryFails, ""},
	{"DetachWhileHeld", testDetachWhileHeld, ""},
	{"PolicyCuts", testPolicyCuts, ""},
	{"OldSession", testOldSession, ""},
	{"ForgedProbes", testForgedProbes, ""},
	{"SteerNewPort", testSteerNewPort, ""},
	{"SteerWithoutPort", testSteerWithoutPort, ""},
	{"Orphans", testOrphans, ""},
	{"RemovePort", testRemovePort, ""},
	{"Forget", testForget, noise},
	{"Push", testPush, ""},
	{"PushesAtOnce", testPushesAtOnce, nothing},
	{"PushWithoutAppliance", testPushWithoutAppliance, ""},
	{"Generations", testGenerations, nothing},
	{"LoggedRules", testLoggedRules, ""},
	{"Watch", testWatch, ""},
	{"WatchKeeps", testWatchKeeps, ""},
}

// Frames are the cases of what becomes of single frames.
var Frames = []Case{
	{"Matrix", testMatrix, others},
	{"NobodyThere", testNobodyThere, ""},
	{"Returns", testReturns, ""},
	{"VerdictsByPlacement", testVerdictsByPlacement, ""},
	{"InspectorVerdicts", testInspectorVerdicts, ""},
	{"Books", testBooks, noise},
	{"SteeredWhole", testSteeredWhole, ""},
	{"Steered", testSteered, ""},
	{"DeniedNeverSteered", testDeniedNeverSteered, ""},
	{"AddressMoves", testAddressMoves, ""},
	{"ClaimsThatDoNotHold", testClaimsThatDoNotHold, ""},
	{"GuardedMovesNothing", testGuardedMovesNothing, ""},
	{"ApplianceFollows", testApplianceFollows, ""},
	{"Neighbours", testNeighbours, ""},
	{"ToGuest", testToGuest, ""},
	{"Learning", testLearning, ""},
	{"MACLimit", testMACLimit, ""},
	{"ServicePorts", testServicePorts, ""},
	{"NoPretenders", testNoPretenders, ""},
	{"Wakes", testWakes, batches},
	{"GatewayAnswersARP", testGatewayAnswersARP, ""},
	{"GatewayAnswersND", testGatewayAnswersND, ""},
	{"Routing", testRouting, ""},
	{"ICMPErrors", testICMPErrors, ""},
	{"NoErrorAboutErrors", testNoErrorAboutErrors, ""},
	{"EchoToGateway", testEchoToGateway, ""},
	{"Reject", testReject, ""},
	{"ErrorsAreLimited", testErrorsAreLimited, flood},
	{"Trace", testTrace, nothing},
	{"TraceFlood", testTraceFlood, ""},
	{"TraceGroups", testTraceGroups, nothing},
	{"TraceWords", testTraceWords, nothing},
	{"TraceHelpers", testTraceHelpers, nothing},
	{"TraceLegs", testTraceLegs, nothing},
	{"TraceNowhere", testTraceNowhere, nothing},
	{"TraceFrame", testTraceFrame, nothing},
	{"TraceReplyInSlow", testTraceReplyInSlow, ""},
	{"ParseTraceErrors", testParseTraceErrors, nothing},
}

// Refusals are the cases of what a switch refuses on any engine, also on one that drops everything.
var Refusals = []Case{
	{"SwitchRefused", testSwitchRefused, nothing},
	{"PortRefused", testPortRefused, nothing},
	{"PolicyRefused", testPolicyRefused, nothing},
	{"PlaceRefused", testPlaceRefused, nothing},
	{"PushRefused", testPushRefused, nothing},
	{"WatchRefuses", testWatchRefuses, nothing},
	{"UnprovedRefused", testUnprovedRefused, ""},
	{"ClosedRefuses", testClosedRefuses, ""},
}

// Routed are the cases with a real router as the appliance, which needs root.
var Routed = []Case{{"MatrixSlow", testMatrixSlow, ""}}
