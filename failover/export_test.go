package failover

// JudgeBrief is what Decide judges with.
var JudgeBrief = judgeBrief
