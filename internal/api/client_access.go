package api

import (
	"context"
	"net/http"
	"net/url"
)

// Access asks who may do what.
func (c *Client) Access(ctx context.Context) (AccessList, error) {
	return get[AccessList](ctx, c, KindAccess, "/v1/access", nil)
}

// CreateToken has a join token made.
func (c *Client) CreateToken(ctx context.Context, req TokenRequest) (TokenMade, error) {
	return roundTrip[TokenMade](ctx, c, KindToken, http.MethodPost, "/v1/tokens", req)
}

// EndToken takes a join token back.
func (c *Client) EndToken(ctx context.Context, id string) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil)
}

// AdmitOperator has a person's login file made.
func (c *Client) AdmitOperator(ctx context.Context, req OperatorRequest) (Login, error) {
	return roundTrip[Login](ctx, c, KindLogin, http.MethodPost, "/v1/operators", req)
}

// RevokeOperator has every certificate of a person refused.
func (c *Client) RevokeOperator(ctx context.Context, name, reason string) (Accepted, error) {
	path := "/v1/operators/" + url.PathEscape(name) + "?" + url.Values{"reason": {reason}}.Encode()
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodDelete, path, nil)
}

// SetMember changes one member of the group.
func (c *Client) SetMember(ctx context.Context, req MemberRequest) error {
	_, err := roundTrip[Done](ctx, c, KindConfirmed, http.MethodPost, "/v1/cluster/members", req)
	return err
}

// SetMemberHere passes a person's wish on to the leader, as an agent.
func (c *Client) SetMemberHere(ctx context.Context, req MemberOrder) error {
	_, err := roundTrip[Done](ctx, c, KindConfirmed, http.MethodPost, "/v1/raft/member", req)
	return err
}

// StepDown has the leader restart.
func (c *Client) StepDown(ctx context.Context) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/cluster/step-down", nil)
}

// Snapshot asks for the state in the form that a rebuild reads.
func (c *Client) Snapshot(ctx context.Context) (SnapshotFile, error) {
	return get[SnapshotFile](ctx, c, KindSnapshot, "/v1/cluster/snapshot", nil)
}

// Renew asks, as an agent, for the next certificate.
func (c *Client) Renew(ctx context.Context, request string) (Redeemed, error) {
	return roundTrip[Redeemed](ctx, c, KindRedeemed, http.MethodPost, "/v1/raft/renew", RenewRequest{Request: request})
}

// Authority asks, as the agent of a voter, for the authority's key.
func (c *Client) Authority(ctx context.Context) (AuthorityKey, error) {
	return roundTrip[AuthorityKey](ctx, c, KindAuthority, http.MethodPost, "/v1/raft/authority", nil)
}

// Leave asks, as an agent, to be expelled.
func (c *Client) Leave(ctx context.Context) error {
	_, err := roundTrip[Done](ctx, c, KindConfirmed, http.MethodPost, "/v1/raft/leave", nil)
	return err
}

// StepDownHere asks, as an agent, that the agent which answers stops leading.
func (c *Client) StepDownHere(ctx context.Context) error {
	_, err := roundTrip[Done](ctx, c, KindConfirmed, http.MethodPost, "/v1/raft/step-down", nil)
	return err
}

// Redeem shows a join token and has a certificate signed. The client's
// transport must speak the protocol of joining.
func (c *Client) Redeem(ctx context.Context, req RedeemRequest) (Redeemed, error) {
	return roundTrip[Redeemed](ctx, c, KindRedeemed, http.MethodPost, "/v1/join", req)
}
