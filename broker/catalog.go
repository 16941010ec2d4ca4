package broker

import (
	"context"
	"fmt"
	"strings"

	"github.com/pivotal-cf/brokerapi/v10/domain"
)

// Services returns the catalog.
func (b *Broker) Services(context.Context) ([]domain.Service, error) {
	service := domain.Service{
		ID:                   ServiceID,
		Name:                 "postgresql",
		Description:          "Highly available PostgreSQL clusters behind one permanent address",
		Bindable:             true,
		InstancesRetrievable: true,
		BindingsRetrievable:  true,
		Tags:                 []string{"postgresql", "postgres", "relational", "sql"},
		Metadata: &domain.ServiceMetadata{
			DisplayName:         "PostgreSQL",
			LongDescription:     "A PostgreSQL cluster run by Patroni. Its host and port never change; when its leader dies, a standby takes over in about a second.",
			ProviderDisplayName: "pgpatron",
		},
	}
	for _, p := range b.cfg.Plans {
		service.Plans = append(service.Plans, b.catalogPlan(p))
	}
	return []domain.Service{service}, nil
}

func (b *Broker) catalogPlan(p Plan) domain.ServicePlan {
	polling := int(b.cfg.ProvisionTimeout.Seconds())
	return domain.ServicePlan{
		ID:          p.ID,
		Name:        p.Name,
		Description: p.Description,
		Free:        domain.FreeValue(true),
		Metadata: &domain.ServicePlanMetadata{
			DisplayName: p.Name,
			Bullets: []string{
				fmt.Sprintf("%d PostgreSQL %s", p.Nodes, plural(p.Nodes, "server", "servers")),
				fmt.Sprintf("%d MiB of memory and %.1f cores each", p.MemoryMB, float64(p.MilliCPU)/1000),
				"Permanent host and port",
			},
		},
		MaximumPollingDuration: &polling,
		MaintenanceInfo:        b.maintenanceInfo(),
		Schemas: &domain.ServiceSchemas{
			Instance: domain.ServiceInstanceSchema{
				Create: domain.Schema{Parameters: provisionSchema(p)},
				Update: domain.Schema{Parameters: updateSchema(p)},
			},
			Binding: domain.ServiceBindingSchema{Create: domain.Schema{Parameters: objectSchema(nil)}},
		},
	}
}

// maintenanceInfo is the version of the image that new nodes run.
func (b *Broker) maintenanceInfo() *domain.MaintenanceInfo {
	_, version, ok := strings.Cut(b.cfg.Image[strings.LastIndexByte(b.cfg.Image, '/')+1:], ":")
	if !ok {
		return nil
	}
	return &domain.MaintenanceInfo{Version: version, Description: "PostgreSQL 17 with Patroni, image " + version}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
