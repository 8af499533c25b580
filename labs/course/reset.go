package course

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"sluice/labs"
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
		Long: `Put the policy and the placement of the lab's start in force again, and forget all flows. What happened inside the guests stays, and so do
the counters; with --reboot the lab is deployed anew, so that nothing stays. Answers, tries and hints are remembered until the
lab is destroyed.

The start of a task is in the lab's folder start/TASK, which is laid over the lab like a submission; without one it is the lab's own.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cli.CompleteLabs,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openSession(cmd, args)
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
			return s.reset(cmd)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "a task: to its start")
	cmd.Flags().BoolVar(&reboot, "reboot", false, "the guests, too: they boot again")
	return cmd
}

// startOf makes the session's lab what it is at the start of a task.
func (s *session) startOf(task string) error {
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
func (s *session) again(cmd *cobra.Command) error {
	name := s.client.Lab()
	ref, o, err := labs.DeployedAs(name)
	if err != nil {
		return err
	}
	if err := labs.Destroy(name); err != nil {
		return err
	}
	if _, err := labs.Deploy(cmd.Context(), ref, o, func(what string) { note(cmd, "  %s", what) }); err != nil {
		return err
	}
	old := s.progress
	defer old.close()
	if s.progress, err = openProgress(name); err != nil {
		s.progress = old
		return err
	}
	s.progress.Tries, s.progress.Facts, s.progress.Bought, s.progress.Answers = old.Tries, old.Facts, old.Bought, old.Answers
	return s.progress.save()
}

// reset puts the start in force. Placing with the handover cut forgets all flows, where the placement stays the same, too.
func (s *session) reset(cmd *cobra.Command) error {
	ctx := cmd.Context()
	p := s.lab.Policy
	if _, err := s.client.SetPolicy(ctx, control.PolicyText{File: p.File, Source: string(p.Source)}); err != nil {
		return err
	}
	r, err := s.client.Place(ctx, s.lab.Placement, vswitch.PlaceOptions{Handover: vswitch.Cut})
	if err != nil {
		return err
	}
	s.progress.OwnMoves = append(slices.Clone(s.progress.OwnMoves), r.Epoch)
	note(cmd, "lab %s is at its start: policy %s, placement %s, no flows", s.client.Lab(), p.File, s.lab.Placement)
	return s.progress.save()
}
