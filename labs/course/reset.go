package course

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/running"
	"sluice/vswitch"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

func resetCommand() *cobra.Command {
	var to string
	var reboot bool
	cmd := &cobra.Command{
		Use:   "reset [LAB]",
		Short: "Bring a running lab back to its start, or to the start of a task",
		Long: `Bring a lab back to its start: an appliance that is stalled goes on, one that has ended or does not answer boots again; then the policy and
the placement of the start are put in force, all flows and all that the switch has learnt are forgotten, and counters, the fast share
and the history of changes begin anew. What happened inside the other guests stays; with --reboot the lab is deployed anew, so that
nothing stays. Answers, tries and hints are remembered until the lab is destroyed.

With --to TASK it is brought to the start of a task: the lab's folder start/TASK is laid over the lab like a submission; without one it
is the lab's own start. The history of changes stays then, for it belongs to tasks before.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cli.CompleteLabs,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			s, err := openRunning(cmd, args)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.startOf(to); err != nil {
				return err
			}
			if reboot {
				if err := s.again(cmd); err != nil {
					return err
				}
			}
			if err := s.reset(cmd, to == ""); err != nil {
				return err
			}
			done := atStart{s.client.Lab(), to, s.lab.Policy.File, s.lab.Placement, reboot}
			return out.Done(done, fmt.Sprintf("lab %s is at its start: policy %s, placement %s, no flows, counters at zero", done.Lab, done.Policy, done.Placement))
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "a task: to its start")
	cli.CompleteFlags(cmd, completeTasks, "to")
	cmd.Flags().BoolVar(&reboot, "reboot", false, "the guests, too: they boot again")
	return cmd
}

// atStart is the answer of `lab reset`.
type atStart struct {
	Lab       string             `json:"lab"`
	Task      string             `json:"task,omitempty"` // whose start it is; empty is the lab's
	Policy    string             `json:"policy"`         // its file
	Placement firewall.Placement `json:"placement"`
	Rebooted  bool               `json:"rebooted"`
}

// startOf makes the lab what it is at the start of a task.
func (s *runningLab) startOf(task string) error {
	if task == "" {
		return nil
	}
	if err := hasTask(s.lab, task); err != nil {
		return err
	}
	folder := "start/" + task
	if _, err := fs.Stat(s.lab.Files, folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := s.lab.With(folder)
	if err == nil {
		s.lab = l
	}
	return err
}

// again deploys the lab anew, as it was deployed, and keeps what is remembered of the student.
func (s *runningLab) again(cmd *cobra.Command) error {
	name := s.client.Lab()
	ref, o, err := running.DeployedAs(name)
	if err != nil {
		return err
	}
	if err := running.Destroy(name); err != nil {
		return err
	}
	if _, err := running.Deploy(cmd.Context(), ref, o, func(what string) { note(cmd, "  %s", what) }); err != nil {
		return err
	}
	old := s.progress
	defer old.close()
	if s.progress, err = openProgress(name); err != nil {
		s.progress = old
		return err
	}
	s.progress.Tries, s.progress.Facts, s.progress.Bought, s.progress.Answers = old.Tries, old.Facts, old.Bought, old.Answers // what has passed has to pass again
	return s.progress.save()
}

// reset puts the start in force, with an appliance that is well, and lets the switch begin anew.
func (s *runningLab) reset(cmd *cobra.Command, history bool) error {
	ctx := cmd.Context()
	booted, err := s.heal(cmd)
	if err != nil {
		return err
	}
	err = s.putInForce(ctx)
	if err != nil && s.lab.Appliance != nil && !booted && ctx.Err() == nil {
		note(cmd, "it does not work with the appliance as it is (%v): it boots again", err)
		if err = s.client.Appliance(ctx, control.Restart); err == nil {
			err = s.putInForce(ctx)
		}
	}
	if err == nil {
		err = s.client.Forget(ctx, history)
	}
	return errors.Join(err, s.progress.save())
}

// heal brings the appliance back after a drill, and says whether it has booted.
func (s *runningLab) heal(cmd *cobra.Command) (booted bool, err error) {
	info, err := s.client.Inspect(cmd.Context())
	if err != nil {
		return false, err
	}
	for _, g := range info.Guests {
		switch {
		case g.State == "ready" && (!g.Appliance || s.answering(cmd.Context(), g.Name)):
		case !g.Appliance:
			err = errors.Join(err, fault.Errorf(fault.Failed, "guest %s is %s: sluice lab reset --reboot brings it back", g.Name, g.State))
		case g.State == "stalled":
			note(cmd, "%s goes on", g.Name)
			err = errors.Join(err, s.client.Appliance(cmd.Context(), control.Resume))
		default:
			note(cmd, "%s boots", g.Name)
			booted = true
			err = errors.Join(err, s.client.Appliance(cmd.Context(), control.Restart))
		}
	}
	return booted, err
}

// answering says whether a guest runs a command: one may hang though nobody has stalled it.
func (s *runningLab) answering(ctx context.Context, guest string) bool {
	const within = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	out, err := (&live{Client: s.client}).Exec(ctx, guest, []string{"true"})
	return err == nil && out.Code == 0
}

// putInForce brings in the policy and the placement of the start. Placing with the handover cut forgets all flows,
// where the placement stays the same, too. In push the policy belongs to the appliance, so that is left first.
func (s *runningLab) putInForce(ctx context.Context) error {
	now, err := s.client.Placement(ctx)
	if err != nil {
		return err
	}
	if now.Placement == firewall.Push {
		if err := s.cutTo(ctx, firewall.Fast); err != nil {
			return err
		}
	}
	p := s.lab.Policy
	if _, err := s.client.SetPolicy(ctx, control.PolicyText{File: p.File, Source: string(p.Source)}); err != nil {
		return err
	}
	return s.cutTo(ctx, s.lab.Placement)
}

// cutTo changes the placement; the change is not the student's.
func (s *runningLab) cutTo(ctx context.Context, to firewall.Placement) error {
	r, err := s.client.Place(ctx, to, vswitch.PlaceOptions{Handover: vswitch.Cut})
	if err == nil {
		s.progress.OwnMoves = append(slices.Clone(s.progress.OwnMoves), r.Epoch)
	}
	return err
}
