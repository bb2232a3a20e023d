package lab

import "time"

// Requests are what random faults hit, in the simulator and in chaos alike. It is
// not to be changed.
var Requests = []Match{
	{Method: "POST"},
	{Method: "GET"},
	{Method: "POST", Path: "*/qemu"},
	{Method: "POST", Path: "*/lxc"},
	{Method: "POST", Path: "*/start"},
	{Method: "DELETE"},
	{Method: "PUT"},
	{Method: "GET", Path: "*/tasks*"},
	{Method: "GET", Path: "*/config"},
	{Method: "GET", Path: "*/extractconfig*"},
}

// Troubles are what random faults do, the likelier ones twice; each is to be given
// a match and a number of times. It is not to be changed.
var Troubles = []Fault{
	{Effect: EffectDelay, Delay: 8 * time.Second},
	{Effect: EffectHang},
	{Effect: EffectStatus, Status: 500, Text: "got timeout"},
	{Effect: EffectStatus, Status: 596, Text: "Broken pipe"},
	{Effect: EffectStatus, Status: 503, Text: "Service Unavailable"},
	{Effect: EffectDropReply},
	{Effect: EffectDropReply},
	{Effect: EffectTwice},
	{Effect: EffectTwice},
	{Effect: EffectCrashHost},
	{Effect: EffectHTML},
	{Effect: EffectTruncate},
	{Effect: EffectFillStorage},
	{Effect: EffectLoseSnapshot},
	{Effect: EffectCorruptSnapshot},
	{Effect: EffectWrongKey},
	{Effect: EffectRevokeToken},
}
