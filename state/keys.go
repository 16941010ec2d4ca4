package state

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The patterns of every key in etcd. A {name} stands for one segment, escaped
// by Segment. No other place spells a key.
const (
	ClusterPattern    = "/service/{id}/state"
	LeaderPattern     = "/service/{id}/leader"
	MemberPattern     = "/service/{id}/members/{name}"
	SyncPattern       = "/service/{id}/sync"
	ConfigPattern     = "/service/{id}/config"
	InitializePattern = "/service/{id}/initialize"
	NextPortPattern   = "/routing/nextport"
	AllocationPattern = "/routing/allocation/{id}"
	ReadOnlyPattern   = "/routing/readonly/{id}"
	PortPattern       = "/routing/ports/{port}"
	// FormatPattern lies where every process may read, and none but brokers and the
	// federation write.
	FormatPattern    = "/routing/format"
	ForwardPattern   = "/routing/forward/{id}"
	UnboundPattern   = "/routing/unbound/{port}/{router}"
	InstancePattern  = "/serviceinstance/{id}"
	BindingPattern   = "/serviceinstance/{id}/bindings/{binding}"
	FencePattern     = "/service/{id}/fence"
	PlanCountPattern = "/plans/{plan}/instances"
	RouterPattern    = "/state/instances/{router}"
	// RouterRecordPattern and RouterSessionPattern tell routers that run from what
	// those that do not have left: see Routers.
	RouterRecordPattern  = "/state/routers/{router}"
	RouterSessionPattern = "/state/routers/{router}/session"
	BackendPattern       = "/registry/nodes/{backend}"
	DrainPattern         = "/registry/drains/{backend}"
	// HostPattern is of the hosts that ever registered.
	HostPattern = HostPrefix + "{backend}"
	// CordonPattern is of the switches of whole backends.
	CordonPattern = "/state/backends/{backend}"
	// DatasourcePattern is of the switches of single nodes.
	DatasourcePattern = "/state/datasources/{datasource}"
	// SwitchedPattern is of who switched something off, when and why.
	SwitchedPattern   = "/state/switched/{kind}/{name}"
	NodeStatusPattern = "/registry/instances/{node}"
	// The registry's own: services that are not databases. Their instances share
	// the prefix of NodeStatusPattern.
	DefinitionPattern  = "/registry/definitions/{id}"
	DeploymentPattern  = "/registry/deployments/{id}"
	RegisteredPattern  = "/registry/instances/{id}"
	InstanceURLPattern = "/registry/by-url/{url}"
	BuildPattern       = "/registry/builds/{definition}/{backend}"
	// RecoveryPattern asks what copies there are, AnswerPattern and CopyPattern say.
	RecoveryPattern = "/registry/recovery"
	AnswerPattern   = "/registry/recovery/{backend}"
	CopyPattern     = "/registry/recovery/{backend}/{node}"
	// LossPattern says that etcd is not the one with the site's records.
	LossPattern = LossPrefix + "{backend}"
	SitePattern = "/site"
	EraPattern  = "/site/era"
	// The patterns of what a site knows of its federation.
	FederationSelfPattern    = FederationPrefix + "self"
	FederationOverlayPattern = FederationPrefix + "overlay"
	FederationLogPattern     = FederationPrefix + "log/{epoch}"
	FederationOutboxPattern  = FederationPrefix + "outbox/{tx}/{dc}"
	FederationGIPPattern     = FederationPrefix + "gip/{port}"
	FederationHoldPattern    = FederationPrefix + "hold/{tx}"
	FederationWantPattern    = FederationPrefix + "want/{id}"
	FederationMovePattern    = FederationPrefix + "move/{id}/{side}"
	// EventPattern is of the event log, ToldPattern of what it has been told.
	EventPattern    = EventsPrefix + "log/{event}"
	ToldPattern     = EventsPrefix + "told/{id}"
	ElectionPattern = "/election/{name}"
	// CertificatePattern is of the certificates of nodes, SiteCAPattern of who signs
	// them. Rights end between the two: registrars read the one and not the other.
	CertificatePattern = TLSPrefix + "certificates/{id}/{node}"
	SiteCAPattern      = TLSPrefix + "site-ca"
	MarkerPattern      = "/engine/{id}"
)

// IsReserved reports whether keys that begin with the segment are not for
// announcements: they are records, Patroni's or those of an engine.
func IsReserved(segment string) bool {
	return slices.Contains(reserved, segment)
}

// ReservedPrefixes are above all keys that begin with a reserved segment, in
// order.
func ReservedPrefixes() []string {
	var out []string
	for _, segment := range reserved {
		out = append(out, "/"+segment+"/")
	}
	slices.Sort(out)
	return out
}

var reserved = []string{"service", "routing", "serviceinstance", "state", "registry", "site", "election", "engine", "events", "federation", "plans", "tls"}

// HostPrefix is above every key of HostPattern.
const HostPrefix = "/registry/hosts/"

// LossPrefix is above every key of LossPattern.
const LossPrefix = "/registry/lost/"

// ServicePrefix is the namespace that Patroni is given: its keys of one
// cluster are ServicePrefix, the escaped instance id, a slash and a name.
const ServicePrefix = "/service/"

// EventsPrefix is above every key of the event log.
const EventsPrefix = "/events/"

// TLSPrefix is above the site's certificate authority and what it has signed.
const TLSPrefix = "/tls/"

// FederationPrefix is above every key of the federation.
const FederationPrefix = "/federation/"

// Segment escapes an id so that it is exactly one segment of a key: no slash,
// never empty, and no two ids alike. Ids of letters, digits and -._~:@ stay
// as they are.
func Segment(id string) string {
	if id == "" {
		return "%"
	}
	return url.PathEscape(id)
}

// unsegment is the inverse of Segment.
func unsegment(segment string) (string, error) {
	if segment == "%" {
		return "", nil
	}
	return url.PathUnescape(segment)
}

// isSegment reports whether Segment can have made segment.
func isSegment(segment string) bool {
	if !strings.Contains(segment, "%") {
		return true
	}
	_, err := unsegment(segment)
	return err == nil
}

// fill puts params, escaped, into the pattern's braces from left to right.
func fill(pattern string, params ...string) string {
	var b strings.Builder
	for _, p := range params {
		open := strings.IndexByte(pattern, '{')
		end := strings.IndexByte(pattern, '}')
		b.WriteString(pattern[:open])
		b.WriteString(Segment(p))
		pattern = pattern[end+1:]
	}
	b.WriteString(pattern)
	return b.String()
}

// ClusterKey holds the cluster record of an instance: a Cluster.
func ClusterKey(id string) string { return fill(ClusterPattern, id) }

// ClusterPrefix is above every key of one cluster, the record's and Patroni's.
func ClusterPrefix(id string) string { return ServicePrefix + Segment(id) + "/" }

// LeaderKey holds the name of the member that leads a cluster. Patroni's.
func LeaderKey(id string) string { return fill(LeaderPattern, id) }

// MemberKey holds what a member tells of itself. Patroni's.
func MemberKey(id, name string) string { return fill(MemberPattern, id, name) }

// SyncKey names the leader and its synchronous standby. Patroni's.
func SyncKey(id string) string { return fill(SyncPattern, id) }

// NextPortKey holds the next public port to hand out.
func NextPortKey() string { return NextPortPattern }

// AllocationKey holds the public port of an instance, decimal.
func AllocationKey(id string) string { return fill(AllocationPattern, id) }

// ReadOnlyKey holds the public port of an instance's replicas, decimal.
func ReadOnlyKey(id string) string { return fill(ReadOnlyPattern, id) }

// PortKey names the instance that holds a public port, or why it is reserved.
func PortKey(port int) string { return fill(PortPattern, strconv.Itoa(port)) }

// ForwardKey says that an instance's public port is held, or leads to another
// site: a Forward.
func ForwardKey(id string) string { return fill(ForwardPattern, id) }

// UnboundKey says why a router can not listen on a public port. Leased.
func UnboundKey(port int, router string) string {
	return fill(UnboundPattern, strconv.Itoa(port), router)
}

// ConfigKey holds the dynamic configuration of a cluster. Patroni's.
func ConfigKey(id string) string { return fill(ConfigPattern, id) }

// InitializeKey holds the system identifier of a cluster's data. Patroni's.
func InitializeKey(id string) string { return fill(InitializePattern, id) }

// InstanceKey holds the OSB side of an instance: an Instance.
func InstanceKey(id string) string { return fill(InstancePattern, id) }

// BindingKey holds one binding of an instance: a Binding.
func BindingKey(id, binding string) string { return fill(BindingPattern, id, binding) }

// BindingPrefix is above the bindings of one instance.
func BindingPrefix(id string) string { return InstanceKey(id) + "/bindings/" }

// FenceKey holds the last fence of an instance's node: a Fence.
func FenceKey(id string) string { return fill(FencePattern, id) }

// PlanCountKey holds how many instances a plan has, decimal.
func PlanCountKey(plan string) string { return fill(PlanCountPattern, plan) }

// RouterKey registers a running router. Leased.
func RouterKey(ip string, pid int) string {
	return "/state/instances/" + ip + "@-@" + strconv.Itoa(pid)
}

// RouterRecordKey says that a router has registered, by its name ip@-@pid.
func RouterRecordKey(router string) string { return fill(RouterRecordPattern, router) }

// RouterSessionKey says that a router has a session with etcd. Leased.
func RouterSessionKey(router string) string { return fill(RouterSessionPattern, router) }

// SwitchedKey tells who switched something off, when and why: a Switched.
func SwitchedKey(s Switch) string { return fill(SwitchedPattern, string(s.Kind), s.Name) }

// BackendKey registers a host that runs nodes: a Backend. Leased.
func BackendKey(backend string) string { return fill(BackendPattern, backend) }

// DrainKey holds how far the emptying of a backend is: a Drain.
func DrainKey(backend string) string { return fill(DrainPattern, backend) }

// HostKey holds a backend as it was when it was last seen: a Host. It stays when
// the backend goes.
func HostKey(backend string) string { return fill(HostPattern, backend) }

// CordonKey is the switch of a backend: Disabled means no new nodes and no reads
// there.
func CordonKey(backend string) string { return fill(CordonPattern, backend) }

// DatasourceKey is the switch of one node of an instance: Disabled means no reads
// there.
func DatasourceKey(id, node string) string { return fill(DatasourcePattern, id+"."+node) }

// NodeStatusKey tells how far a registrar is with one node: a NodeStatus. Leased.
func NodeStatusKey(node string) string { return fill(NodeStatusPattern, node) }

// DefinitionKey holds a service's definition.
func DefinitionKey(id string) string { return fill(DefinitionPattern, id) }

// DeploymentKey holds a deployment and where its instances are placed.
func DeploymentKey(id string) string { return fill(DeploymentPattern, id) }

// RegisteredKey holds an instance of a service. Leased if a registrar runs it.
func RegisteredKey(id string) string { return fill(RegisteredPattern, id) }

// InstanceURLKey names the instance that a URL belongs to: uniqueness in one
// transaction. Leased like the instance.
func InstanceURLKey(url string) string {
	return fill(InstanceURLPattern, base64.RawURLEncoding.EncodeToString([]byte(url)))
}

// InstanceURLPrefix is above all InstanceURLKeys.
const InstanceURLPrefix = "/registry/by-url/"

// BuildKey holds how the last build of a definition went on a backend.
func BuildKey(definition, backend string) string { return fill(BuildPattern, definition, backend) }

// BuildPrefix is above the builds of one definition.
func BuildPrefix(definition string) string { return "/registry/builds/" + Segment(definition) + "/" }

// AnnouncementKey holds the ip:port at which the world reaches an internal
// port of a container. Leased. It is the published contract by which a
// container finds its own address.
func AnnouncementKey(image, hostname, container string, port int) string {
	return fill(AnnouncementPattern(image), AnnouncementParam(hostname, container, port))
}

// AnnouncementPattern is the pattern of the announcements of one image's
// containers.
func AnnouncementPattern(image string) string { return "/" + Segment(image) + "/{announcement}" }

// AnnouncementParam is the last segment of an AnnouncementKey: the parameter
// by which a table of AnnouncementPattern finds it.
func AnnouncementParam(hostname, container string, port int) string {
	return fmt.Sprintf("%s:%s:%d", hostname, container, port)
}

// RecoveryKey asks every registrar what copies of records its volumes carry. Leased.
func RecoveryKey() string { return RecoveryPattern }

// AnswerKey says that a backend has answered: how many copies it has told. Leased.
func AnswerKey(backend string) string { return fill(AnswerPattern, backend) }

// CopyKey tells the copy on one node's volume. Leased.
func CopyKey(backend, node string) string { return fill(CopyPattern, backend, node) }

// LossKey says that a backend's registrar knows more of the site than etcd does
// (Loss). Leased.
func LossKey(backend string) string { return fill(LossPattern, backend) }

// SiteKey holds the random id of the site that this etcd cluster serves.
func SiteKey() string { return SitePattern }

// FormatKey holds the version of the site's records: see Format.
func FormatKey() string { return FormatPattern }

// EraKey holds how often the site was recovered, decimal; nothing is 0.
func EraKey() string { return EraPattern }

// FederationSelfKey holds what the site permanently knows of its federation.
func FederationSelfKey() string { return FederationSelfPattern }

// FederationOverlayKey holds the site's part in a transaction that is not yet
// decided. Leased: it passes by itself.
func FederationOverlayKey() string { return FederationOverlayPattern }

// FederationLogKey holds the decision that began an epoch.
func FederationLogKey(epoch int) string { return fill(FederationLogPattern, strconv.Itoa(epoch)) }

// FederationOutboxKey holds a decision that a site is still to be told of.
func FederationOutboxKey(tx, dc string) string { return fill(FederationOutboxPattern, tx, dc) }

// FederationGIPKey holds a global port: its instance and home.
func FederationGIPKey(port int) string { return fill(FederationGIPPattern, strconv.Itoa(port)) }

// FederationHoldKey holds what the site has agreed to and does not know the
// outcome of.
func FederationHoldKey(tx string) string { return fill(FederationHoldPattern, tx) }

// FederationWantKey says that an instance is to have a global port.
func FederationWantKey(id string) string { return fill(FederationWantPattern, id) }

// FederationMoveKey holds what is said about the move of an instance: a MoveNote
// of one of the sides MoveOwn, MovePeer and MoveVerdict.
func FederationMoveKey(id, side string) string { return fill(FederationMovePattern, id, side) }

// SiteCAKey holds who signs the certificates of the site's nodes: a SiteCA.
func SiteCAKey() string { return SiteCAPattern }

// CertificateKey holds the certificate of a node of a cluster: a Certificate.
func CertificateKey(id, node string) string { return fill(CertificatePattern, id, node) }

// CertificatePrefix is above the certificates of one cluster's nodes.
func CertificatePrefix(id string) string { return TLSPrefix + "certificates/" + Segment(id) + "/" }

// EventKey holds one entry of the event log: an Event.
func EventKey(id string) string { return fill(EventPattern, id) }

// ToldKey holds what the event log has been told of an instance: a Told.
func ToldKey(id string) string { return fill(ToldPattern, id) }

// ElectionKey names the holder of an elected office. Leased.
func ElectionKey(name string) string { return fill(ElectionPattern, name) }

// markerKey holds the id of an engine's last transaction. Leased.
func markerKey(engine string) string { return fill(MarkerPattern, engine) }
